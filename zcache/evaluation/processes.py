"""Which part of the work is this process's, when several were launched together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Process `rank` of `world`; item i belongs to process i modulo `world`."""

    rank: int = 0
    world: int = 1

    @classmethod
    def launched(cls) -> Share:
        """Return the share that `accelerate launch` (or torchrun) names in the environment; else
        the only one."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def leads(self) -> bool:
        """Whether this process gathers the results."""
        return self.rank == 0

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's items."""
        return items[self.rank :: self.world]


def launched_device() -> str | None:
    """Return this process's card, where several were launched on CUDA; None leaves the choice to
    `load`."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if local is not None and torch.cuda.is_available() else None


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads on a CPU, whatever the launcher chose: sums depend on it.

    Raises:
        ConfigError: less than one thread.
    """
    import torch

    if number < 1:
        raise ConfigError(f"threads is {number}; give a whole number from 1 up")
    former = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(former)
