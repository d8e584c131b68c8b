"""What a run remembers of its steps: calls and cached steps, as they were first taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..method import bases, weights
from ..method.config import Plan, ZCacheConfig
from ..method.schedule import Kind, Pass
from ..method.teacache import Accumulator
from .anchors import Anchors
from .bindings import Denoiser
from .report import Log
from .scheduler import State as SchedulerState
from .stand_ins import Memo

Key = tuple[int, int]  # id of the denoiser, ordinal of the call within its step
Original = Callable[..., Any]


@dataclass
class Branch:
    """One denoiser call of one step, with what is needed to make it again."""

    key: Key
    denoiser: Denoiser
    original: Original
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    leaves: list[Tensor]
    from_cache: bool
    memo: Memo


@dataclass
class Visit:
    """A cached step as it was first taken."""

    step: int
    model_output: Tensor
    timestep: Any
    sample: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    branches: list[Branch]
    returned: Tensor | None = None


@dataclass
class RunState:
    """What one run knows; nothing of it outlives the run but its log."""

    config: ZCacheConfig
    scheduler: Any
    on_pass: Callable[[int, str, int], None] | None = None
    log: Log = field(default_factory=Log)
    plan: Plan | None = None
    levels: list[float] | None = None
    step: int = 0
    kind: Kind | None = None
    anchors: dict[Key, Anchors] = field(default_factory=dict)
    branches: list[Branch] = field(default_factory=list)
    window: list[Visit] = field(default_factory=list)
    scheduler_state: SchedulerState = field(default_factory=dict)
    start: int = 0
    windows_closed: int = 0
    done: bool = False
    gate: int = 0
    known: dict[Any, Any] = field(default_factory=dict)
    accumulator: Accumulator | None = None
    last_signal: Tensor | None = None

    def __post_init__(self) -> None:
        self.base = bases.resolve(self.config.base)
        self.weight = weights.resolve(self.config.weight)
        # An interval above the steps is refused here, before the denoiser is called.
        self.config.plan(len(self.scheduler.timesteps))

    def announce(self, p: Pass, num_steps: int) -> None:
        """Log a pass and tell whoever listens."""
        self.log.passes.append(p)
        if self.on_pass is not None:
            self.on_pass(p.step, p.kind.word, num_steps)

    def close(self) -> None:
        """Let go of every tensor; the log stays."""
        self.done = True
        self.anchors, self.window, self.branches = {}, [], []
        self.scheduler_state, self.known, self.last_signal = {}, {}, None

    def held(self) -> list[Tensor]:
        """Every tensor that the run keeps at this moment."""
        held = [tensor for anchors in self.anchors.values() for tensor in anchors.tensors()]
        for visit in self.window:
            held += [visit.sample, visit.model_output]
            held += [leaf for branch in visit.branches for leaf in branch.leaves]
        return held
