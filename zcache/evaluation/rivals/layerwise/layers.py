"""A transformer's layers, each computed or reused on its own.

A layer is an attention or an MLP, and in FLUX's and HunyuanVideo's single-stream blocks the one
projection of both. What is kept of it is what it returned, before the gate: gates, modulations and
residuals are those of the present step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ....caching import adapters
from ....caching.adapters import Adapter
from ....caching.features import Feature
from ....caching.stand_ins import Given, Nothing, OutputsRecorder, Swap, swapped

Call = Callable[[], Any]
Kept = tuple[Feature, ...]  # what a layer returned, call by call


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        kind: block list and name, such as "transformer_blocks.attn1".
        block: index in the block list.
        place: the module that owns it, and its name there.
        feeders: modules of its block that feed nothing but the block's layers.
    """

    kind: str
    block: int
    place: tuple[nn.Module, str]
    feeders: tuple[tuple[nn.Module, str], ...]

    @property
    def module(self) -> nn.Module:
        """The layer itself."""
        owner, name = self.place
        return owner.get_submodule(name)


def layers(transformer: nn.Module, adapter: Adapter) -> list[Layer]:
    """Return every layer of a described transformer, in the order of its blocks."""
    found = []
    for blocks in adapter.blocks:
        for index, block in enumerate(getattr(transformer, blocks.name)):
            feeders = tuple(
                place for path in blocks.bypass for place in adapters.resolve(block, path)
            )
            for path in blocks.features:
                for place in adapters.resolve(block, path):
                    found.append(Layer(f"{blocks.name}.{path}", index, place, feeders))
    return found


class Store:
    """What the layers returned last, in one branch of guidance."""

    def __init__(self, known: Sequence[Layer]) -> None:
        self._layers = known
        self._kept: list[Kept] = [()] * len(known)

    def run(self, call: Call, computed: Sequence[bool]) -> Any:
        """Run the denoiser's call with these layers computed, the others reused; a layer that was not
        computed before is computed.

        What feeds only layers of its block is not run once all of them are reused."""
        recorders: dict[int, OutputsRecorder] = {}
        swaps: list[Swap] = []
        idle: dict[tuple[str, int], list[Layer]] = {}
        busy = set()
        for index, (layer, wanted) in enumerate(zip(self._layers, computed, strict=True)):
            block = layer.kind.partition(".")[0], layer.block
            if wanted or not self._kept[index]:
                recorders[index] = OutputsRecorder(layer.module)
                swaps.append((*layer.place, recorders[index]))
                busy.add(block)
            else:
                giver = Given(layer.module)
                giver.values = self._kept[index]
                swaps.append((*layer.place, giver))
                idle.setdefault(block, []).append(layer)
        for block, reused in idle.items():
            if block not in busy:
                swaps += [
                    (owner, name, Nothing(owner.get_submodule(name)))
                    for owner, name in reused[0].feeders
                ]
        with swapped(swaps):
            output = call()
        for index, recorder in recorders.items():
            self._kept[index] = recorder.seen
        return output
