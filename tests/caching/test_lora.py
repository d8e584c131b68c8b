"""LoRA put in, switched, fused and taken out after `enable`: as if it had been so before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig

import zcache
from zcache import ZCacheConfig

from ..pipelines import CASES
from .test_laws import attributes

CASE = {case.name: case for case in CASES}["flux"]
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])
# proj_out is itself a feature of a single block, context_embedder is left out of cached passes.
TARGETS = ["to_q", "to_out.0", "proj_out", "proj_mlp", "context_embedder", "norm_out.linear"]


def add(transformer: Any, name: str = "default", seed: int = 1) -> None:
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=2, target_modules=TARGETS, init_lora_weights=False)
    transformer.add_adapter(config, adapter_name=name)


def two(transformer: Any) -> None:
    add(transformer, "one"), add(transformer, "two", seed=2)


def fuse(transformer: Any) -> None:
    add(transformer)
    transformer.fuse_lora()


CHANGES: dict[str, Callable[[Any], None]] = {
    "added": add,
    "two, the first set": lambda t: (two(t), t.set_adapters(["one"], [0.5]))[0],
    "fused": fuse,
    "disabled": lambda t: (add(t), t.disable_adapters())[0],
    "taken out": lambda t: (add(t), t.delete_adapters("default"))[0],
}


@granularity
@pytest.mark.parametrize("change", CHANGES)
def test_after_enable_is_as_before_it(granularity: str, change: str) -> None:
    early, late = CASE.build(), CASE.build()
    config = ZCacheConfig(interval=3, granularity=granularity)
    CHANGES[change](early.transformer)
    with zcache.enabled(early, config) as handle:
        expected = CASE.run(early)
        assert handle.report().fallbacks == ()

    without = None
    with zcache.enabled(late, config):
        without = CASE.run(late)
        CHANGES[change](late.transformer)
        assert torch.equal(CASE.run(late), expected)
    assert torch.equal(without, expected) == (change in ("disabled", "taken out"))
    assert torch.equal(CASE.run(late), CASE.run(early))


@granularity
@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_scale_that_a_call_is_given_reaches_every_layer(granularity: str, scale: float) -> None:
    pipe, given = CASE.build(), {"joint_attention_kwargs": {"scale": scale}}
    add(pipe.transformer)
    full, plain = CASE.run(pipe), CASE.run(pipe, **given)
    assert not torch.equal(full, plain)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity=granularity)):
        assert torch.equal(CASE.run(pipe, **given), plain)
    with zcache.enabled(pipe, ZCacheConfig(interval=3, granularity=granularity)):
        cached = CASE.run(pipe, **given)
    assert (cached - plain).norm() < 0.5 * (cached - full).norm()
    assert torch.equal(CASE.run(pipe), full)


@granularity
def test_disable_leaves_the_lora_where_it_is(granularity: str) -> None:
    pipe = CASE.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=3, granularity=granularity)):
        CASE.run(pipe)
        add(pipe.transformer)
        before = attributes(pipe.transformer)
        CASE.run(pipe)
    assert attributes(pipe.transformer) == before
