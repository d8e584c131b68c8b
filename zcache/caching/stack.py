"""Granularity `stack`: what the whole block stack adds to the hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .adapters import Adapter
from .features import Feature
from .parts import Head, all_blocks, first_block, per_step, without_blocks
from .stand_ins import InputRecorder, Memo, Swap, remembered, swapped

Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class Stack:
    """The residual of the whole block stack, one tensor (batch, image tokens, channels) a stream."""

    ignores_arguments = False
    walks_blocks = False

    def __init__(self, transformer: nn.Module, adapter: Adapter) -> None:
        self._transformer, self._adapter = transformer, adapter
        owner, name, block = first_block(transformer, adapter)
        self._entry = InputRecorder(block)
        self._heads = [Head(transformer, p) for p in (adapter.head, *adapter.other_heads)]
        self._per_step = per_step(transformer, adapter)
        probing = [swap for head in self._heads for swap in head.probing]
        adding = [swap for head in self._heads for swap in head.adding]
        without = [*self._per_step, *without_blocks(transformer, adapter)]
        self._recording: list[Swap] = [*self._per_step, *probing]
        if not adapter.joined:
            self._recording.append((owner, name, self._entry))
        self._measuring: list[Swap] = [*without, *probing]
        self._skipping: list[Swap] = [*without, *adding]

    def skipped(self) -> list[nn.Module]:
        return all_blocks(self._transformer, self._adapter)

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        try:
            with remembered(self._per_step, memo), swapped(self._recording):
                output = call()
            after = self._taken()
            before = self._before(call, memo) if self._adapter.joined else [self._entry.seen]
            return output, _residual(before, after)
        finally:
            self._entry.seen = None
            self._taken()

    def _before(self, call: Call, memo: Memo) -> list[Tensor | None]:
        """Return what the heads are given when no block runs."""
        with remembered(self._per_step, memo), swapped(self._measuring):
            call()
        return self._taken()

    def _taken(self) -> list[Tensor | None]:
        return [seen[0] if (seen := head.taken()) else None for head in self._heads]

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        residuals = feature if isinstance(feature, tuple) else (feature,)
        for head, residual in zip(self._heads, residuals, strict=True):
            head.add(residual)
        try:
            with remembered(self._per_step, memo), swapped(self._skipping):
                return call()
        finally:
            for head in self._heads:
                head.add(None)


def _residual(before: list[Tensor | None], after: list[Tensor | None]) -> Feature:
    """After minus before, stream by stream, None of a stream that this call does without; None if a
    stream was seen at one end only, or none was seen."""
    residuals: list[Tensor | None] = []
    for start, stop in zip(before, after, strict=True):
        if start is None and stop is None:
            residuals.append(None)
        elif start is None or stop is None or start.shape != stop.shape:
            return None
        else:
            residuals.append((stop - start).to(start.dtype))
    if all(residual is None for residual in residuals):
        return None
    return residuals[0] if len(residuals) == 1 else tuple(residuals)
