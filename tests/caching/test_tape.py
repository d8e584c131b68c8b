"""Cached passes by tape: the same bits as through the modules, and nothing of a failure is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache.caching.recorder import Recorder
from zcache.caching.tape import Tape

from ..pipelines import CASES, Case, flux
from .taping import CONFIG, FLUX, draw, through_modules


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


def test_after_an_exception_the_next_run_is_clean(plays: list[int]) -> None:
    pipe = flux()
    expected = draw(FLUX, pipe=pipe)
    for step in (5, 6, 7):

        def callback(
            pipe: Any, i: int, t: Any, kwargs: dict[str, Any], step: int = step
        ) -> dict[str, Any]:
            if i == step:
                raise KeyboardInterrupt
            return kwargs

        with pytest.raises(KeyboardInterrupt):
            draw(FLUX, pipe=pipe, callback_on_step_end=callback)
        assert torch.overrides._get_current_function_mode_stack() == []
        assert torch.equal(draw(FLUX, pipe=pipe), expected)


def test_an_exception_within_a_recording_leaves_no_tape() -> None:
    pipe, raised = flux(), []
    norm = pipe.transformer.norm_out.norm
    functional = torch.nn.functional.layer_norm

    def failing(*args: Any, **kwargs: Any) -> Tensor:
        if isinstance(torch.overrides._get_current_function_mode(), Recorder) and not raised:
            raised.append(1)
            raise ArithmeticError
        return functional(*args, **kwargs)

    assert norm is not None
    expected = draw(FLUX, pipe=pipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "layer_norm", failing)
        with pytest.raises(ArithmeticError):
            draw(FLUX, pipe=pipe)
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.equal(draw(FLUX, pipe=pipe), expected)


def test_a_tape_that_lies_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = through_modules(monkeypatch, lambda: draw(FLUX))
    play, lies = Tape.play, []

    def lie(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        lies.append(1)
        return [tensor * (1 + 1e-6) for tensor in play(self, values, lives)]

    monkeypatch.setattr(Tape, "play", lie)
    assert torch.equal(draw(FLUX), expected)
    assert len(lies) == 1


def test_a_tape_that_cannot_be_played_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, tried = through_modules(monkeypatch, lambda: draw(FLUX)), []

    def fail(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        tried.append(1)
        raise ArithmeticError

    monkeypatch.setattr(Tape, "play", fail)
    assert torch.equal(draw(FLUX), expected)
    assert len(tried) == 1


def test_nothing_of_a_tape_outlives_its_run() -> None:
    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        states = []
        handle.on_pass = lambda *_: states.append(handle._run)
        FLUX.run(pipe)
    assert states[-1].passes == {}
