"""Cached passes by tape: the same bits as through the modules, and only where nothing can be missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zcache
from zcache import ZCacheConfig
from zcache.caching import cached_pass
from zcache.caching.tape import CONSTANT, LIVE, STEP, Recorder, Tape

from ..pipelines import CASES, Case, flux

BY_NAME = {case.name: case for case in CASES}
FLUX = BY_NAME["flux"]
CONFIG = ZCacheConfig(interval=4)


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry per play of a tape."""
    counted: list[int] = []
    play = Tape.play

    def counting(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        counted.append(1)
        return play(self, values, lives)

    monkeypatch.setattr(Tape, "play", counting)
    yield counted


def draw(case: Case, config: ZCacheConfig = CONFIG, pipe: Any = None, **more: Any) -> Tensor:
    pipe = pipe or case.build()
    with zcache.enabled(pipe, config):
        return case.run(pipe, **more)


def through_modules(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], Tensor]) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(cached_pass, "MOST_RECORDINGS", 0)
        return draw()


@pytest.mark.parametrize("granularity", ["stack", "module"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_tape_draws_bit_for_bit_what_the_modules_draw(
    case: Case, granularity: str, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    config = CONFIG.replace(granularity=granularity)
    expected = through_modules(monkeypatch, lambda: draw(case, config))
    assert not plays
    assert torch.equal(draw(case, config), expected)
    # HunyuanVideo's layers write into a mask, which a tape cannot tell.
    writes = granularity == "module" and case.name.split("-")[0] in ("hunyuan", "i2v")
    assert bool(plays) != writes


def test_without_reflection_and_with_fora_too(
    monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    for changes in ({"reflect": False}, {"base": "fora"}, {"interval": 2}):
        config = CONFIG.replace(**changes)
        expected = through_modules(monkeypatch, lambda config=config: draw(FLUX, config))
        plays.clear()
        assert torch.equal(draw(FLUX, config), expected)
        assert plays


def write(transformer: Any) -> None:
    with torch.no_grad():
        transformer.norm_out.linear.weight.mul_(1.5)


def write_constant(transformer: Any) -> None:
    with torch.no_grad():
        transformer.time_text_embed.text_embedder.linear_1.weight.mul_(1.5)


def replace_weight(transformer: Any) -> None:
    transformer.proj_out.weight = nn.Parameter(transformer.proj_out.weight.detach() * 1.5)


def replace_module(transformer: Any) -> None:
    transformer.proj_out = nn.Sequential(transformer.proj_out, nn.Tanh())


@pytest.mark.parametrize("step", [5, 6, 7])
@pytest.mark.parametrize("change", [write, write_constant, replace_weight, replace_module])
def test_what_a_callback_changes_is_seen_at_once(
    change: Callable[[Any], None], step: int, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    # Through the modules, a reflected step keeps the embedding of its forecast, of the old weights.
    config = CONFIG.replace(reflect=change is not write_constant)

    def run() -> Tensor:
        def callback(pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if i == step:
                change(pipe.transformer)
            return kwargs

        return draw(FLUX, config, callback_on_step_end=callback)

    unchanged = draw(FLUX, config)
    plays.clear()
    expected = through_modules(monkeypatch, run)
    assert not torch.equal(expected, unchanged)
    assert torch.equal(run(), expected)
    assert plays


def test_hooks_run_in_every_pass(plays: list[int]) -> None:
    pipe, seen = flux(), []
    pipe.transformer.x_embedder.register_forward_hook(lambda *_: seen.append(1))
    with zcache.enabled(pipe, CONFIG) as handle:
        FLUX.run(pipe)
    report = handle.report()
    passes = report.full_passes + report.forecast_passes + report.reflect_passes
    # At a window's end the full step's own pass is counted, and the check of the description.
    assert len(seen) == passes + 1
    assert not plays


def test_a_tape_that_lies_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = through_modules(monkeypatch, lambda: draw(FLUX))
    play, lies = Tape.play, []

    def lie(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        lies.append(1)
        return [tensor * (1 + 1e-6) for tensor in play(self, values, lives)]

    monkeypatch.setattr(Tape, "play", lie)
    assert torch.equal(draw(FLUX), expected)
    assert len(lies) == 1


def test_nothing_of_a_tape_outlives_its_run() -> None:
    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        states = []
        handle.on_pass = lambda *_: states.append(handle._run)
        FLUX.run(pipe)
    assert states[-1].passes == {}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_where_writes_go_unnoticed_or_gradients_are_kept_nothing_is_recorded(
    mode: Callable[[], Any],
) -> None:
    pipe = flux()
    with mode():
        modules = list(pipe.transformer.modules())
        assert not cached_pass._can_be_recorded(modules, [torch.zeros(1)])
    with torch.no_grad():
        assert cached_pass._can_be_recorded(modules, [torch.zeros(1)])
        assert not cached_pass._can_be_recorded(modules, [object()])


def recorded(function: Callable[[Tensor, Tensor, Tensor], Tensor], **origin: Any) -> Recorder:
    """A recording of function(live, step, constant)."""
    live, step, constant = torch.ones(2), torch.full((2,), 3.0), torch.full((2,), 5.0)
    known = [(live, LIVE), (step, STEP), (constant, CONSTANT)]
    recorder = Recorder(known, origin.get("is_weight", lambda tensor: False))
    with torch.no_grad(), recorder:
        recorder.output = function(live, step, constant)
    recorder.given = (live, step, constant)
    return recorder


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda x, t, c: x if float(t[0]) > 1 else -x, "reads a tensor's value"),
        (lambda x, t, c: x * x.max().item(), "reads a tensor's value"),
        (lambda x, t, c: x if bool((x > 0).all()) else -x, "reads a tensor's value"),
        (lambda x, t, c: x * t.tolist()[0], "reads a tensor's value"),
        (lambda x, t, c: torch.from_numpy(t.numpy()) * x, "reads a tensor's value"),
        (lambda x, t, c: x.add_(1), "writes into a tensor"),
        (lambda x, t, c: torch.add(x, 1, out=c), "writes into a tensor"),
        (lambda x, t, c: (x + 1).mul_(2), "writes into a tensor"),
        (lambda x, t, c: x + HIDDEN, "of unknown origin"),
    ],
)
def test_what_a_tape_cannot_tell_is_a_fault(function: Any, fault: str) -> None:
    assert fault in recorded(function).fault


HIDDEN = torch.ones(2)


@pytest.mark.parametrize(
    ("function", "per_step", "live"),
    [
        (lambda x, t, c: x * c.sum().item(), 0, 1),
        (lambda x, t, c: x * c.shape[0] + t.to(torch.float32), 0, 2),
        (lambda x, t, c: torch.cat([x, t.sin() + c], dim=0), 2, 1),
        (lambda x, t, c: x.chunk(2)[1] + t.exp().chunk(2)[0], 2, 2),
        (lambda x, t, c: torch.stack(tensors=[x, c.exp()]), 0, 1),
    ],
)
def test_a_tape_plays_on_other_tensors_what_was_recorded(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], per_step: int, live: int
) -> None:
    def with_waste(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        (t.cos() * x).exp()  # no output needs it
        return function(x, t, c)

    recorder = recorded(with_waste)
    assert recorder.fault == "" and recorder.are_live([recorder.output])
    x, t, c = recorder.given
    slots = [[recorder.slot(tensor, CONSTANT)] for tensor in (t, x, recorder.output)]
    tape = Tape(recorder, *slots)
    assert (len(tape._per_step), len(tape._live)) == (per_step, live)
    for factor in (2.0, 7.0):
        values = tape.begin([t * factor])
        for other in (x * 3, x - 2):
            assert torch.equal(tape.play(values, [other])[0], function(other, t * factor, c))
    assert not tape.is_stale()


def test_a_constant_that_was_written_into_makes_a_tape_stale() -> None:
    recorder = recorded(lambda x, t, c: x * c)
    x, t, c = recorder.given
    tape = Tape(recorder, *([recorder.slot(y, CONSTANT)] for y in (t, x, recorder.output)))
    assert not tape.is_stale()
    c.mul_(2)
    assert tape.is_stale()


def test_an_output_that_does_not_change_with_the_latent_is_no_recording() -> None:
    recorder = recorded(lambda x, t, c: t + c)
    assert not recorder.are_live([recorder.output])
