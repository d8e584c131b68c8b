"""The parts of a described transformer, as stand-ins to swap in: heads, blocks, what to remember."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from . import adapters
from .adapters import Adapter
from .stand_ins import HeadProbe, HeadWithResidual, NoBlocks, PassThrough, Remembered, Swap


def without_blocks(transformer: nn.Module, adapter: Adapter) -> list[Swap]:
    """Stand-ins under which no block runs, nor what only the blocks use."""
    swaps: list[Swap] = [
        (
            transformer,
            blocks.name,
            NoBlocks(getattr(transformer, blocks.name), blocks.returns, blocks.walked),
        )
        for blocks in adapter.blocks
    ]
    for path in adapter.conditioning:
        swaps += [
            (owner, name, PassThrough(owner.get_submodule(name)))
            for owner, name in adapters.resolve(transformer, path)
        ]
    return swaps


def per_step(transformer: nn.Module, adapter: Adapter) -> list[Swap]:
    return [
        (owner, name, Remembered(owner.get_submodule(name), path))
        for path in adapter.per_step
        for owner, name in adapters.resolve(transformer, path)
    ]


def all_blocks(transformer: nn.Module, adapter: Adapter) -> list[nn.Module]:
    """Every element of a list of modules, those of the described blocks and any that is forgotten."""
    return [
        block
        for name, blocks in transformer.named_children()
        if isinstance(blocks, nn.ModuleList) and name not in adapter.kept
        for block in blocks
    ]


def first_block(transformer: nn.Module, adapter: Adapter) -> tuple[nn.Module, str, nn.Module]:
    owner = next(blocks for b in adapter.blocks if len(blocks := getattr(transformer, b.name)) > 0)
    return owner, "0", owner[0]


class Head:
    """The head of one stream: a module, or the children of a container, of which one runs."""

    def __init__(self, transformer: nn.Module, path: str) -> None:
        found = adapters.resolve(transformer, path)
        self._probes = [HeadProbe(owner.get_submodule(name)) for owner, name in found]
        self._adders = [HeadWithResidual(owner.get_submodule(name)) for owner, name in found]
        self.probing: list[Swap] = [(*at, p) for at, p in zip(found, self._probes, strict=True)]
        self.adding: list[Swap] = [(*at, a) for at, a in zip(found, self._adders, strict=True)]

    def taken(self) -> tuple[Any, ...]:
        """What the head was given since it was last asked; empty if it did not run."""
        seen = next((probe.seen for probe in self._probes if probe.seen), ())
        for probe in self._probes:
            probe.seen = ()
        return seen

    def add(self, residual: Tensor | None) -> None:
        for adder in self._adders:
            adder.residual = residual
