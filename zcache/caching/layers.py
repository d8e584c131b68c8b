"""Granularity `module`: what every layer returns before the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from . import adapters
from .adapters import Adapter
from .features import Feature
from .parts import per_step
from .stand_ins import Given, Memo, Nothing, OutputsRecorder, Swap, remembered, swapped

Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class Module:
    """The features of every layer before the gate: of every site, in the order of the layers, the
    outputs of its calls."""

    ignores_arguments = False
    walks_blocks = True

    def __init__(self, transformer: nn.Module, adapter: Adapter) -> None:
        self._sites: list[tuple[nn.Module, str]] = []
        self._bypassed: list[tuple[nn.Module, str]] = []
        for blocks in adapter.blocks:
            for block in getattr(transformer, blocks.name):
                for path in blocks.features:
                    self._sites += adapters.resolve(block, path)
                for path in blocks.bypass:
                    self._bypassed += adapters.resolve(block, path)
        self._recorders = [
            OutputsRecorder(owner.get_submodule(name)) for owner, name in self._sites
        ]
        self._givers = [Given(owner.get_submodule(name)) for owner, name in self._sites]
        self._per_step = per_step(transformer, adapter)
        self._recording: list[Swap] = [
            *self._per_step,
            *((*at, r) for at, r in zip(self._sites, self._recorders, strict=True)),
        ]
        self._skipping: list[Swap] = [
            *self._per_step,
            *((*at, g) for at, g in zip(self._sites, self._givers, strict=True)),
            *((owner, name, Nothing(owner.get_submodule(name))) for owner, name in self._bypassed),
        ]

    def skipped(self) -> list[nn.Module]:
        return [owner.get_submodule(name) for owner, name in (*self._sites, *self._bypassed)]

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        try:
            with remembered(self._per_step, memo), swapped(self._recording):
                output = call()
            feature = tuple(recorder.seen for recorder in self._recorders)
            return output, feature if any(feature) else None
        finally:
            for recorder in self._recorders:
                recorder.seen = ()

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        for giver, values in zip(self._givers, feature, strict=True):
            giver.values, giver.calls = values, 0
        try:
            with remembered(self._per_step, memo), swapped(self._skipping):
                return call()
        finally:
            for giver in self._givers:
                giver.values = ()
