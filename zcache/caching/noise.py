"""The noise of a step, drawn again: random generators are put back to the state they had.

A stochastic sampler's step draws noise from the generator that the pipeline hands it, from one of its own
or from the device's global one. Whether it does is seen from their state, not from a list of
samplers; noise is then a function of the step, and a step that is taken again draws what it drew
before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .features import within

States = list[tuple[Any, Tensor]]  # a generator and its state


def generators(device: torch.device, *given: Any) -> list[Any]:
    """Return the generators that a scheduler's `step` may draw from: those in `given`, in lists and dicts too, and
    the global ones."""
    found = [torch.default_generator, *within(given, torch.Generator)]
    if device.type != "cpu":
        own = getattr(torch, device.type, None)
        defaults = getattr(own, "default_generators", ())
        if defaults:
            found.append(defaults[device.index or 0])
    return list({id(each): each for each in found}.values())


def states(sources: list[Any]) -> States:
    """Return the state of every generator."""
    return [(source, source.get_state()) for source in sources]


def moved(before: States) -> bool:
    """Return whether any generator has drawn since."""
    return any(not torch.equal(source.get_state(), state) for source, state in before)


def put_back(before: States) -> None:
    """Bring every generator back to its state."""
    for source, state in before:
        source.set_state(state)


@contextmanager
def drawn_again(before: States | None) -> Iterator[None]:
    """Put the generators where they stood, for the length of the block; afterwards back where they
    were."""
    if before is None:
        yield
        return
    now = states([source for source, _ in before])
    put_back(before)
    try:
        yield
    finally:
        put_back(now)
