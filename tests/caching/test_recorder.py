"""The recorder and the tape alone: what is a fault, and what is played of a recording."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from zcache.caching.recorder import Recorder
from zcache.caching.tape import CONSTANT, LIVE, STEP, Tape


def recorded(function: Callable[[Tensor, Tensor, Tensor], Tensor], **origin: Any) -> Recorder:
    """A recording of function(live, step, constant)."""
    live, step, constant = torch.ones(2), torch.full((2,), 3.0), torch.full((2,), 5.0)
    known = {LIVE: [live], STEP: [step], CONSTANT: [constant]}
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
        (lambda x, t, c: x + x.nonzero().shape[0], "for a size"),
        (lambda x, t, c: x + torch.where(t > 1)[0].shape[0], "for a size"),
        (lambda x, t, c: x + x[t > 1].shape[0], "for a size"),
        (lambda x, t, c: x + torch.masked_select(c, t > 1).shape[0], "for a size"),
        (lambda x, t, c: x + t.unique().shape[0], "for a size"),
        (lambda x, t, c: x.repeat_interleave(t.to(torch.int64))[:2], "for a size"),
        (lambda x, t, c: torch.atleast_1d(x, t.sum())[1] + x, "was there before"),
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
        (lambda x, t, c: x[c > 1].repeat_interleave(2) + c.repeat_interleave(2), 0, 3),
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
    tape = Tape(recorder, [t], [x], [recorder.output])
    assert (len(tape._per_step), len(tape._live)) == (per_step, live)
    for factor in (2.0, 7.0):
        values = tape.begin([t * factor])
        for other in (x * 3, x - 2):
            assert torch.equal(tape.play(values, [other])[0], function(other, t * factor, c))
    assert not tape.is_stale()


def test_a_recording_keeps_nothing_alive_but_constants() -> None:
    """A cached pass of every layer makes gigabytes on its way, of which few live at the same time."""
    dead: list[Any] = []

    def passing(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        for tensor in (x + 1, t.sin(), c.exp()):
            dead.append(weakref.ref(tensor))
        del tensor
        dead.append([ref() is None for ref in dead])
        return x + t.cos() * c

    recorder = recorded(passing)
    assert recorder.fault == "" and recorder.are_live([recorder.output])
    assert dead[-1] == [True, True, False]


def test_a_constant_that_was_written_into_makes_a_tape_stale() -> None:
    recorder = recorded(lambda x, t, c: x * c)
    x, t, c = recorder.given
    tape = Tape(recorder, [t], [x], [recorder.output])
    assert not tape.is_stale()
    c.mul_(2)
    assert tape.is_stale()
    tape = Tape(recorder, [t], [x], [recorder.output])
    c.data = c.data * 2
    assert tape.is_stale()


def test_constants_are_made_anew_of_what_they_were_made_of() -> None:
    recorder = recorded(lambda x, t, c: x * c.exp() + t * torch.arange(2.0))
    x, t, c = recorder.given
    tape = Tape(recorder, [t], [x], [recorder.output])
    c.data.mul_(0.5)  # torch does not count it
    assert not tape.is_stale()
    assert torch.equal(tape.play(tape.begin([t]), [x])[0], recorder.output)
    tape.renew()
    expected = x * c.exp() + t * torch.arange(2.0)
    assert torch.equal(tape.play(tape.begin([t]), [x])[0], expected)
    assert not tape.is_stale()


def test_an_output_that_does_not_change_with_the_latent_is_no_recording() -> None:
    recorder = recorded(lambda x, t, c: t + c)
    assert not recorder.are_live([recorder.output])
