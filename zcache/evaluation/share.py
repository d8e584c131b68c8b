"""Which part of the work is this process's, when several were launched together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Process `rank` of `world`; item i belongs to process i modulo `world`."""

    rank: int = 0
    world: int = 1

    @classmethod
    def launched(cls) -> Share:
        """As `accelerate launch` (or torchrun) says in the environment; else the only process."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def leads(self) -> bool:
        """Whether this process gathers the results."""
        return self.rank == 0

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's items."""
        return items[self.rank :: self.world]


def launched_device() -> str | None:
    """This process's card, where several were launched on CUDA; None leaves the choice to `load`."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if local is not None and torch.cuda.is_available() else None
