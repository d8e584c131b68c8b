"""SmoothCache and L2C: laws on tiny pipelines, then the published rules on plain numbers."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zcache import AlreadyEnabledError, ConfigError, UnsupportedPipelineError, ZCacheConfig, enabled
from zcache.caching import adapters, intercept
from zcache.caching.adapters import Adapter, Blocks
from zcache.evaluation import methods
from zcache.evaluation.rivals.layerwise import plans
from zcache.evaluation.rivals.layerwise.calibration import HELD_OUT, calibrate, relative_l1
from zcache.evaluation.rivals.layerwise.layers import Layer, Store, layers
from zcache.evaluation.rivals.layerwise.on_pipeline import l2c, smoothcache
from zcache.evaluation.rivals.layerwise.plans import FARTHEST, RUNS, plan
from zcache.evaluation.rivals.layerwise.router import FOLDER, Router, find, marks
from zcache.measure.flop_meter import FlopMeter

from ..embedded import DIT as MINI_DIT
from ..pipelines import CASES, STEPS, Case, dit, flux, seeded

BY_NAME = {case.name: case for case in CASES}
FLUX, DIT, HUNYUAN = BY_NAME["flux"], BY_NAME["dit"], BY_NAME["hunyuan"]
FAMILIES = (FLUX, DIT, HUNYUAN)
BRANCHES = (BY_NAME["flux-true-cfg"], BY_NAME["hunyuan-true-cfg"])
WINDOWS = (0, 4, 8, 11)  # three reused after each, and the last


def known(pipe: Any) -> list[Layer]:
    return layers(pipe.transformer, adapters.find(pipe.transformer))


def everything(pipe: Any) -> dict[str, plans.Errors]:
    """Errors of 0 for all kinds: what any alpha above 0 reuses as long as it may."""
    pairs = {(i, j): 0.0 for j in range(STEPS) for i in range(j)}
    return {layer.kind: pairs for layer in known(pipe)}


def routed(pipe: Any, *rows: str, steps: int = STEPS) -> Router:
    """A router of these rows in turn, one character a layer."""
    count = len(known(pipe))
    computed = [
        tuple((rows[i % len(rows)] * count)[j] == "1" for j in range(count))
        for i in range(steps // 2)
    ]
    return Router("tiny", steps, tuple(computed), marks(known(pipe)))


def modules(pipe: Any) -> dict[str, int]:
    return {name: id(module) for name, module in pipe.transformer.named_modules()}


def drawn(case: Case) -> Callable[..., Any]:
    return lambda pipe, index=0: case.run(pipe, generator=seeded(index))


# Laws of both.


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
    pipe.transformer.__class__ = type("Unheard", (type(pipe.transformer),), {})
    with pytest.raises(UnsupportedPipelineError, match="SmoothCache has no layers of Unheard"):
        smoothcache(pipe, 0.1, {}, STEPS).__enter__()


# SmoothCache's rule.


@pytest.mark.parametrize(
    ("alpha", "computed"),
    [
        (0.22, (0, 3, 6, 9, 11)),
        (0.1, tuple(range(12))),  # 0.1 is not below 0.1
        (0.11, (0, 2, 4, 6, 8, 10, 11)),
        (9.0, (0, 4, 8, 11)),
    ],
)
def test_a_layer_that_moves_a_tenth_a_step(alpha: float, computed: tuple[int, ...]) -> None:
    """Errors of 0.1, 0.2, 0.3, ...: below 0.22 after two steps, and no more than three are reused."""
    errors = {(i, j): (j - i) / 10 for j in range(12) for i in range(j)}
    found = plan(errors, alpha, 12)
    assert tuple(step for step, kept in enumerate(found) if kept) == computed


def test_a_window_ends_before_the_first_step_that_is_too_far() -> None:
    """Step 2 is too far from 0, though 3 is not; 3 is near to 2, and 5 has no error: it is computed."""
    errors = {(0, 1): 0.1, (0, 2): 0.5, (0, 3): 0.1, (2, 3): 0.1, (2, 4): 0.1}
    assert plan(errors, 0.22, 7) == (True, False, True, False, False, True, True)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 20), st.floats(0, 1))
def test_every_reuse_is_below_alpha_and_as_long_as_it_may_be(
    data: st.DataObject, num_steps: int, alpha: float
) -> None:
    errors = {
        (i, j): data.draw(st.floats(0, 1))
        for j in range(num_steps)
        for i in range(max(0, j - FARTHEST), j)
    }
    computed = plan(errors, alpha, num_steps)
    assert computed[0] and computed[-1] and len(computed) == num_steps
    anchor = 0
    for step in range(1, num_steps - 1):
        near = step - anchor <= FARTHEST and errors[anchor, step] < alpha
        assert computed[step] is not near
        anchor = step if computed[step] else anchor


def test_the_relative_error_is_a_sum_over_a_sum() -> None:
    """|1 - 2| + |-1 + 1| + |2 - 0| = 3 of 1 + 1 + 2; with a second tensor 3 + 1 of 4 + 4."""
    later, earlier = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([2.0, -1.0, 0.0])
    assert relative_l1((earlier,), (later,)) == 0.75
    more = torch.full((2, 2), 1.0)
    pair = ((earlier, more - torch.eye(2) / 2),), ((later, more),)
    assert relative_l1(*pair) == 0.5
    nothing = torch.zeros(3)
    assert relative_l1((nothing,), (nothing,)) == 0.0
    assert relative_l1((later,), (nothing,)) == math.inf


@pytest.mark.parametrize("case", [*FAMILIES, BRANCHES[0]], ids=str)
def test_the_calibrated_errors_are_those_of_the_plain_runs(case: Case) -> None:
    """Against hooks that note every layer's output; the mean is over layers of a kind, branches, runs."""
    pipe = case.build()
    branches = 2 if case in BRANCHES else 1
    noted: dict[str, list[Any]] = {}
    hooks = []
    for at, layer in enumerate(known(pipe)):
        key = f"{layer.kind} {at}"
        hooks.append(
            layer.module.register_forward_hook(
                lambda *a, key=key: noted.setdefault(key, []).append(a[2])
            )
        )
    plain = [drawn(case)(pipe, HELD_OUT + run) for run in range(2)]
    for hook in hooks:
        hook.remove()

    watched = []
    found = calibrate(pipe, lambda p, i: watched.append(drawn(case)(p, i)), range(2))
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert set(found) == {layer.kind for layer in known(pipe)}
    for kind, errors in found.items():
        assert set(errors) == {(i, j) for j in range(STEPS) for i in range(max(0, j - 3), j)}
        for i, j in ((0, 1), (3, 5), (8, 11)):
            by_hand = []
            for key, outputs in noted.items():
                if key.split()[0] != kind:
                    continue
                for run in range(2):
                    for branch in range(branches):
                        at = [run * STEPS * branches + s * branches + branch for s in (i, j)]
                        before, now = (torch.cat([*flat(outputs[k])]) for k in at)
                        by_hand.append(float((now - before).abs().sum() / now.abs().sum()))
            assert errors[i, j] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)


def flat(output: Any) -> list[torch.Tensor]:
    parts = output if isinstance(output, tuple) else (output,)
    return [part.flatten() for part in parts]


def test_it_is_calibrated_once_on_ten_samples_that_are_not_evaluated() -> None:
    pipe, asked = dit(), []

    def draw(same: Any, index: int = 0) -> None:
        asked.append(index)
        DIT.run(same, generator=seeded(index))

    method = methods.parse("smoothcache:0.3", STEPS, draw)
    for _ in range(2):
        with method.apply(pipe):
            DIT.run(pipe)
    assert asked == list(range(HELD_OUT, HELD_OUT + RUNS)) and RUNS == 10


def test_kinds_have_plans_of_their_own() -> None:
    """Attention moves little, the MLPs much: only attention is reused."""
    pipe = dit()
    near = {(i, j): 0.01 for j in range(STEPS) for i in range(j)}
    far = dict.fromkeys(near, 0.9)
    errors = {"transformer_blocks.attn1": near, "transformer_blocks.ff": far}
    with smoothcache(pipe, 0.22, errors, STEPS) as cache:
        DIT.run(pipe)
    assert [row for row in cache.steps if not all(row)] == [(False, True) * 2] * 8
    assert cache.report().full_steps == WINDOWS


# L2C's router.


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
    path = Path(__file__).parents[2] / "examples/training/train_l2c.py"
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


# Names.


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
