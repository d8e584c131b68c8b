"""L2C: the router, its file, and the training that learns it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from zcache import ConfigError, UnsupportedPipelineError
from zcache.evaluation import methods
from zcache.evaluation.rivals.layerwise.router import FOLDER, Router, find

from ...embedded import DIT as MINI_DIT
from ...pipelines import dit
from .tiny import (
    known,
    routed,
)


def test_a_router_sees_every_second_step() -> None:
    router = Router("a", 5, ((True, False), (False, False)), (1.0, 2.0))
    every = (True, True)
    assert router.plan() == (every, (True, False), every, (False, False), every)
    assert router.cached == 0.75


def test_a_router_comes_back_from_its_file(tmp_path: Path) -> None:
    router = routed(dit(), "10", "0", "1")
    router.save(tmp_path / "l2c-tiny-12.json")
    assert Router.load(tmp_path / "l2c-tiny-12.json") == router
    found = json.loads((tmp_path / "l2c-tiny-12.json").read_text())
    assert found["computed"][:3] == ["1010", "0000", "1111"] and found["num_steps"] == 12


def test_a_router_knows_its_weights_also_in_half_precision(tmp_path: Path) -> None:
    pipe = dit()
    routed(pipe, "10").save(tmp_path / "l2c-tiny-12.json")
    assert find(known(pipe), 12, tmp_path) == routed(pipe, "10")
    pipe.transformer.to(torch.bfloat16)
    assert find(known(pipe), 12, tmp_path).model == "tiny"
    pipe.transformer.transformer_blocks[1].ff.net[2].weight.data *= 1.02
    with pytest.raises(UnsupportedPipelineError, match="there is: tiny of 12 steps"):
        find(known(pipe), 12, tmp_path)
    with pytest.raises(UnsupportedPipelineError, match="for 10 steps"):
        find(known(dit()), 10, tmp_path)


@pytest.mark.parametrize(
    ("computed", "weights"),
    [(((True,),), (1.0,)), (((True,), (True, False)), (1.0,)), (((True,),) * 2, (1.0, 2.0))],
)
def test_a_router_of_another_shape_is_refused(computed: Any, weights: Any) -> None:
    with pytest.raises(ConfigError, match="learn it anew with examples/training"):
        Router("a", 4, computed, weights)


def test_the_router_in_the_package_is_the_embedded_models() -> None:
    """It reuses the share that the paper's row does: 11.55 TFLOPs of the 14.24 of 30 steps."""
    pipe = MINI_DIT.pipe()
    router = find(known(pipe), 30, FOLDER)
    assert router.model == "mini-dit"
    assert router.cached == pytest.approx(2 * (1 - 11.55 / (30 * 0.474706)), abs=0.01)
    with methods.parse("l2c:30", 50).apply(pipe) as cache:
        assert cache.planned == [router.plan()]


def training() -> ModuleType:
    path = Path(__file__).parents[3] / "examples/training/train_l2c.py"
    spec = importlib.util.spec_from_file_location("train_l2c", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_training_finds_the_layers_that_do_not_move() -> None:
    """Attention gives the same output whatever enters; a router that reuses half of the layers reuses
    just these."""
    script, pipe = training(), dit()
    with torch.no_grad():
        for block in pipe.transformer.transformer_blocks:
            block.attn1.to_out[0].weight.zero_()
            block.ff.net[2].weight.mul_(30)
    transformer = pipe.transformer.requires_grad_(False)
    call = {"guidance_scale": 4.0}
    batches = [script.watched(pipe, call, [0, 1], seed, 6) for seed in range(2)]
    assert [len(calls) for calls in batches] == [6, 6]
    assert script.learn(transformer, known(pipe), batches, 0.5, 8) == ((False, True) * 2,) * 3
