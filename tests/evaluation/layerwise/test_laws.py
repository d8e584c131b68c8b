"""Laws of SmoothCache and L2C on tiny pipelines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from zcache import AlreadyEnabledError, ConfigError, UnsupportedPipelineError, ZCacheConfig, enabled
from zcache.caching import intercept
from zcache.caching.adapters import Adapter, Blocks
from zcache.evaluation import methods
from zcache.evaluation.rivals.layerwise.layers import Layer, Store, layers
from zcache.evaluation.rivals.layerwise.on_pipeline import l2c, smoothcache
from zcache.measure.flop_meter import FlopMeter

from ...pipelines import STEPS, Case, flux
from .tiny import (
    BRANCHES,
    DIT,
    FAMILIES,
    FLUX,
    WINDOWS,
    drawn,
    everything,
    known,
    modules,
    routed,
)


@pytest.mark.parametrize("case", [*FAMILIES, *BRANCHES], ids=str)
def test_alpha_zero_and_a_router_that_keeps_all_draw_what_plain_draws(case: Case) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    with methods.parse("smoothcache:0", STEPS, drawn(case)).apply(pipe) as cache:
        assert torch.equal(case.run(pipe), plain)
    assert cache.report().full_steps == tuple(range(STEPS))
    with l2c(pipe, STEPS, routed(pipe, "1")) as cache:
        assert torch.equal(case.run(pipe), plain)
    assert cache.report().full_passes == STEPS


@pytest.mark.parametrize("case", [*FAMILIES, *BRANCHES], ids=str)
def test_all_kinds_reused_alike_are_fora_on_the_same_full_steps(case: Case) -> None:
    """Also with two branches of guidance, each of which has a store of its own."""
    pipe = case.build()
    config = ZCacheConfig(
        4, base="fora", granularity="module", reflect=False, full_steps=WINDOWS, relax=None
    )
    with enabled(pipe, config):
        fora = case.run(pipe)
    with smoothcache(pipe, 0.1, everything(pipe), STEPS) as cache:
        assert torch.equal(case.run(pipe), fora)
    assert cache.report().full_steps == WINDOWS
    halves = ZCacheConfig(
        2, base="fora", granularity="module", reflect=False, full_steps=tuple(range(0, STEPS, 2))
    )
    with enabled(pipe, halves):
        fora = case.run(pipe)
    with l2c(pipe, STEPS, routed(pipe, "0")):
        assert torch.equal(case.run(pipe), fora)


@pytest.mark.parametrize("case", [*FAMILIES, *BRANCHES], ids=str)
def test_they_leave_no_trace(case: Case) -> None:
    pipe = case.build()
    plain, before = case.run(pipe), modules(pipe)
    for way in (
        lambda: smoothcache(pipe, 0.1, everything(pipe), STEPS),
        lambda: l2c(pipe, STEPS, routed(pipe, "10", "01")),
    ):
        with way():
            first, second = case.run(pipe), case.run(pipe)
            assert torch.equal(first, second) and not torch.equal(first, plain)
        hook = known(pipe)[-1].module.register_forward_pre_hook(stop)
        with pytest.raises(KeyError), way():
            case.run(pipe)
        hook.remove()
        assert torch.equal(case.run(pipe), plain) and modules(pipe) == before
        assert not intercept.is_armed(pipe.transformer, "__call__")
        assert not intercept.is_armed(pipe.scheduler, "step")


def stop(*args: Any) -> None:
    raise KeyError


@pytest.mark.parametrize("rows", [("10", "01"), ("0",), ("110", "1", "0")])
@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_at_every_step_the_computed_layers_run_and_no_others(
    case: Case, rows: tuple[str, ...]
) -> None:
    """What feeds only reused layers does not run, either."""
    pipe = case.build()
    router = routed(pipe, *rows)
    ran: list[Any] = []
    parts = [layer.module for layer in known(pipe)]
    feeders = {
        owner.get_submodule(name): (layer.kind.partition(".")[0], layer.block)
        for layer in known(pipe)
        for owner, name in layer.feeders
    }
    hooks = [
        part.register_forward_hook(lambda module, *_: ran.append(module))
        for part in (*parts, *feeders)
    ]
    pipe.transformer.register_forward_hook(lambda *_: ran.append(None))
    with l2c(pipe, STEPS, router):
        case.run(pipe)

    by_step: list[list[Any]] = [[]]
    for module in ran:
        by_step[-1].append(module) if module is not None else by_step.append([])
    assert len(by_step) == STEPS + 1 and len(hooks) == len(parts) + len(feeders)
    for found, wanted in zip(by_step, router.plan(), strict=False):
        assert [part for part in found if part in parts] == [
            part for part, kept in zip(parts, wanted, strict=True) if kept
        ]
        busy = {
            (layer.kind.partition(".")[0], layer.block)
            for layer, kept in zip(known(pipe), wanted, strict=True)
            if kept
        }
        assert {part for part in found if part in feeders} == {
            part for part, block in feeders.items() if block in busy
        }


class Block(nn.Module):
    """Doubles, then adds three times what is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed, self.down = Times(2), Times(1), Times(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x) + self.down(self.feed(x))


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.ran = factor, 0

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        self.ran += 1
        return self.factor * hidden_states


@pytest.mark.parametrize(
    ("computed", "found", "fed"),
    [((True, True), 50, 2), ((False, True), 32, 2), ((True, False), 23, 2), ((False, False), 5, 1)],
)
def test_what_feeds_a_computed_layer_runs(
    computed: tuple[bool, bool], found: int, fed: int
) -> None:
    """At 1 both layers give 2 and 3; at 10 those that compute give 20 and 30."""
    stack = nn.Module()
    stack.blocks = nn.ModuleList([Block()])
    adapter = Adapter((Blocks("blocks", ("attention", "down"), bypass=("feed",)),))
    store = Store(layers(stack, adapter))
    one, ten = torch.ones(1, 4), torch.full((1, 4), 10.0)
    assert torch.equal(store.run(lambda: stack.blocks[0](one), (False, False)), 5 * one)
    assert torch.equal(store.run(lambda: stack.blocks[0](ten), computed), found * one)
    assert stack.blocks[0].feed.ran == fed


def cost(layer: Layer, pipe: Any, tokens: dict[str, int]) -> int:
    """FLOPs of a layer and its feeders: per token 8 d^2 for q, k, v and out, 16 d^2 for an MLP; 4 d for
    each pair of tokens. A single-stream block has 6 d^2 of q, k and v, 8 d^2 and 10 d^2 of MLP."""
    config = pipe.transformer.config
    d = config.num_attention_heads * config.attention_head_dim
    text, image = tokens["text"], tokens["image"]
    every = text + image
    return {
        "transformer_blocks.attn1": 8 * d * d * image + 4 * d * image**2,
        "transformer_blocks.attn": 8 * d * d * every + 4 * d * every**2,
        "transformer_blocks.ff": 16 * d * d * image,
        "transformer_blocks.ff_context": 16 * d * d * text,
        "single_transformer_blocks.proj_out": 24 * d * d * every + 4 * d * every**2,
    }[layer.kind]


@pytest.mark.parametrize(
    ("case", "tokens", "batch"),
    [(DIT, {"text": 0, "image": 16}, 2), (FLUX, {"text": 6, "image": 64}, 1)],
    ids=["dit", "flux"],
)
def test_a_run_pays_for_the_computed_layers_only(
    case: Case, tokens: dict[str, int], batch: int
) -> None:
    pipe = case.build()
    router = routed(pipe, "10", "0", "011")
    with FlopMeter(pipe) as plain:
        case.run(pipe)
    with l2c(pipe, STEPS, router), FlopMeter(pipe) as meter:
        case.run(pipe)
    reused = sum(
        cost(layer, pipe, tokens)
        for row in router.plan()
        for layer, kept in zip(known(pipe), row, strict=True)
        if not kept
    )
    assert meter.total == plain.total - batch * reused
    assert 0 < batch * reused < plain.total


def test_another_number_of_steps_and_another_cache_are_refused() -> None:
    pipe = flux()
    with l2c(pipe, STEPS, routed(pipe, "1")), pytest.raises(ConfigError, match="put on for 12 st"):
        FLUX.run(pipe, 8)
    with (
        smoothcache(pipe, 0.1, everything(pipe), STEPS),
        pytest.raises(ConfigError, match="SmoothCache was put on for 12 steps, and this run has 8"),
    ):
        FLUX.run(pipe, 8)
    with enabled(pipe, ZCacheConfig(3)), pytest.raises(AlreadyEnabledError):
        l2c(pipe, STEPS, routed(pipe, "1")).__enter__()


def test_a_transformer_without_described_layers_is_refused() -> None:
    pipe = flux()
    own = type(pipe.transformer)
    pipe.transformer.__class__ = type("Unheard", (own,), {"forward": own.forward})
    with pytest.raises(UnsupportedPipelineError, match="SmoothCache has no layers of Unheard"):
        smoothcache(pipe, 0.1, {}, STEPS).__enter__()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smoothcache:-1", "alpha is -1.0; give the largest relative error"),
        ("smoothcache:nan", "alpha is nan"),
        ("smoothcache:much", "has 'much' where a number stands"),
        ("smoothcache", "lacks its number"),
        ("l2c:51", "choose 1 to 50"),
        ("l2c:2.5", "where a whole number stands"),
    ],
)
def test_a_bad_name_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        methods.parse(name, 50)


def test_l2c_takes_fewer_steps_and_needs_a_router() -> None:
    method = methods.parse("l2c:30", 50)
    assert method.call == {"num_inference_steps": 30}
    with pytest.raises(UnsupportedPipelineError, match="no router of L2C was learned on these"):
        method.apply(flux()).__enter__()
