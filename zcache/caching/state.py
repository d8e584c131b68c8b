"""What a run remembers of its steps: calls and cached steps, as they were first taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import ConfigError
from ..method import abscissa, bases
from ..method.config import AUTOMATIC, ZCacheConfig
from ..method.mapping import UNFITTED, mapped
from ..method.schedule import Kind, Pass, Plan
from ..method.teacache import Accumulator
from .affine import Affine
from .anchors import Anchors
from .bindings import Denoiser
from .cached_pass import CachedPass
from .conditioning import Conditioning, Key
from .edits import Edits
from .features import Contents, tensors, writes
from .forms import Form
from .guidance import Combination
from .modes import Modes
from .noise import States, generators
from .report import Log
from .scheduler import State as SchedulerState
from .stand_ins import Memo
from .tape import Tape
from .times import FLOW, flow_of, flow_times, prediction, steps_of

OF_STEPS = "full_steps", "factors", "times"  # settings that are mapped to a run's steps
Original = Callable[..., Any]
Guidance = Combination | Form
Signature = tuple[Any, ...]
Writes = int | Contents


@dataclass
class Branch:
    """One denoiser call of one step, with what is needed to make it again."""

    key: Key
    denoiser: Denoiser
    original: Original
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    flat: list[Any]  # the leaves of the arguments, as they came
    leaves: list[Tensor]
    from_cache: bool
    memo: Memo

    def __post_init__(self) -> None:
        self.versions: tuple[Writes, ...] = tuple(map(writes, self.leaves))  # as they were returned
        self.modes = Modes.now(self.leaves[0].device.type if self.leaves else "cpu")

    @property
    def is_as_returned(self) -> bool:
        """Whether nobody has written into the output since the call returned it."""
        return self.versions == tuple(map(writes, self.leaves))


@dataclass
class Visit:
    """A step as it was first taken. `sample` and `returned` are copies: pipelines and callbacks may write
    into the latent. `noise`: where the random generators stood, if the step drew from them."""

    step: int
    model_output: Tensor
    timestep: Any
    sample: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    branches: list[Branch]
    returned: Tensor | None = None
    noise: States | None = None
    versions: tuple[Writes, ...] = ()

    def then(self) -> tuple[Writes, ...]:
        """The writes into what the step is made of: until it, and into outputs until they were returned."""
        return self._writes(count for branch in self.branches for count in branch.versions)

    def now(self) -> tuple[Writes, ...]:
        """The same until now."""
        return self._writes(writes(leaf) for branch in self.branches for leaf in branch.leaves)

    def _writes(self, returned: Iterable[Writes]) -> tuple[Writes, ...]:
        given = (writes(x) for b in self.branches for x in b.flat if isinstance(x, Tensor))
        return (writes(self.model_output), *given, *returned)

    def generators(self, scheduler: Any) -> list[Any]:
        """What the step may draw noise from."""
        return generators(self.sample.device, self.args, self.kwargs, vars(scheduler))

    def after(self) -> Tensor:
        """The latent that the step returned, of a visit that was remembered."""
        assert self.returned is not None
        return self.returned


@dataclass
class RunState:
    """What one run knows; nothing of it outlives the run but its log."""

    config: ZCacheConfig
    scheduler: Any
    on_pass: Callable[[int, str, int], None] | None = None
    replaced: Callable[[], int] = int  # how often callbacks have put another conditioning in place
    log: Log = field(default_factory=Log)
    plan: Plan | None = None
    levels: list[float] | None = None
    step: int = 0
    kind: Kind | None = None
    anchors: dict[Key, Anchors] = field(default_factory=dict)
    passes: dict[Key, CachedPass] = field(default_factory=dict)
    signatures: dict[Key, Signature] = field(default_factory=dict)  # at the newest anchor
    conditioning: Conditioning = field(default_factory=Conditioning)
    branches: list[Branch] = field(default_factory=list)
    window: list[Visit] = field(default_factory=list)
    scheduler_state: SchedulerState = field(default_factory=dict)
    start: int = 0
    windows_closed: int = 0
    turned: float | None = None  # how far outputs turned in the first window along a whole slope
    done: bool = False
    places: dict[Key, Any] = field(default_factory=dict)  # of the latent in a call's arguments
    combinations: dict[tuple[Key, ...], Guidance] = field(default_factory=dict)
    accumulator: Accumulator | None = None
    last_signal: Tensor | None = None
    last_latent: tuple[Tensor, int | None, Tensor] | None = None  # returned, its version, its copy
    edits: Edits = field(default_factory=Edits)  # of the latent, between its steps
    outputs: dict[int, Denoiser] = field(
        default_factory=dict
    )  # by id: those whose output is cached by choice
    embedded_scale: float = 1.0  # of guidance, that the denoiser is told
    in_full: bool = False  # nothing can be cached
    never_back: str = ""  # why no window can be gone back over
    affine: Affine | None = None  # the scheduler's step in closed form
    step_repeats: bool = False  # the scheduler was seen to take a step again, alike
    trying: bool = False  # the step that is being taken is that trial

    def __post_init__(self) -> None:
        self.base = self.config.strategy
        self.log.base = bases.named(self.config.base)
        self.log.granularity = (
            "stack" if self.config.granularity == AUTOMATIC else self.config.granularity
        )
        self.weight = self.config.weight_function
        self.found = self.config  # as it was given: what a list of noise levels is mapped from
        # A full step that does not fit is refused here, before the denoiser is called.
        self._fit(steps_of(self.scheduler), told=False)

    def change(self, **settings: Any) -> None:
        """Go on with other settings from here; of a `base` among them with its strategy."""
        self.config = self.config.replace(**settings)
        self.weight = self.config.weight_function
        if "base" in settings:
            self.log.base = bases.named(self.config.base)
            self.begin_with(self.config.strategy)

    def begin_with(self, base: bases.Base) -> None:
        """Forecast by this base until another is chosen."""
        self.base = base
        for anchors in self.anchors.values():
            anchors.forecast_by(self.base)

    def forecast_along(self, places: Sequence[float]) -> None:
        """From here on the steps stand at `places` for TaylorSeer's forecasts."""
        self.base = abscissa.along(places)
        for anchors in self.anchors.values():
            anchors.forecast_by(self.base)

    def _fit(self, num_steps: int, told: bool = True) -> Plan:
        """The plan for so many steps; an interval above them falls to what fits, and the log is told."""
        config = self.fitting(num_steps, told)
        try:
            return config.plan(num_steps, flow_of(self.scheduler)[-num_steps:], not self.is_flow)
        except ConfigError as error:
            self.log.fall_back(f"the run was refused: {error}")
            self.done = True
            raise

    def fitting(self, num_steps: int, told: bool = False) -> ZCacheConfig:
        """The settings for so many steps; `told`: with a note of what had to change."""
        config, note = self._at_levels(num_steps)
        if config.full_steps is None and config.interval > num_steps:
            note = f"interval {config.interval} is above the {num_steps} sampling steps; {num_steps} was taken"
            config = config.replace(interval=num_steps)
        if note and told:
            self.log.fall_back(note)
        return config

    def _at_levels(self, num_steps: int) -> tuple[ZCacheConfig, str]:
        """The settings, mapped to this run's noise levels where they were found at others, and a note of it."""
        note = ""
        times = flow_times(self.scheduler) if self.found.times is not None else None
        if times is not None:
            there, note = mapped(self.found, times[-num_steps:])
            fitted = there.base == bases.FITTED
            changes = fitted != (self.config.base == bases.FITTED)
            moved = (*OF_STEPS, *(UNFITTED if changes else ()))
            self.change(**{name: getattr(there, name) for name in moved})
        return self.config, note

    @property
    def is_flow(self) -> bool:
        """Whether the scheduler's model predicts a flow."""
        return prediction(self.scheduler) == FLOW

    @property
    def caches(self) -> bool:
        """Whether any step of the run may be cached."""
        full_steps = self.config.full_steps
        if full_steps is not None:
            return len(full_steps) < steps_of(self.scheduler)
        return self.config.interval > 1

    @property
    def steps_are_closed(self) -> bool:
        """Whether the scheduler's step was seen to be its closed form."""
        return self.step_repeats and self.affine is not None

    @property
    def num_steps(self) -> int:
        """Steps of the run; before the first step is taken, what the scheduler has been told."""
        if self.plan is not None:
            return self.plan.num_steps
        begin = getattr(self.scheduler, "begin_index", None) or 0
        return steps_of(self.scheduler) - begin

    def cannot_go_back(self, reason: str) -> None:
        """From now on no window is reflected."""
        if self.config.reflect and not self.never_back:
            since = f"from step {self.step} on " if self.log.relaxation else ""
            self.log.fall_back(f"{since}nothing was reflected: {reason}")
        self.never_back = self.never_back or reason

    def announce(self, p: Pass, num_steps: int) -> None:
        """Log a pass and tell whoever listens."""
        self.log.passes.append(p)
        if self.on_pass is not None:
            self.on_pass(p.step, p.kind.word, num_steps)

    def end(self) -> None:
        """Close a run that nobody takes further, and say what of it is missing."""
        if not self.done and self.caches and self.log.passes:
            if self.plan is None:
                self.log.fall_back(
                    "everything was computed in full: the pipeline's scheduler took no step"
                )
            else:
                self.log.fall_back(f"the run ended after {self.step} of {self.num_steps} steps")
        self.close()

    def close(self) -> None:
        """Let go of every tensor; the log stays."""
        self.done = True
        self.anchors, self.signatures, self.window, self.branches = {}, {}, [], []
        self.scheduler_state, self.places, self.combinations, self.passes = {}, {}, {}, {}
        self.last_signal = self.last_latent = None
        self.outputs, self.edits, self.conditioning = {}, Edits(), Conditioning()

    def held(self) -> list[Tensor]:
        """Every tensor that the run keeps at this moment."""
        held = [tensor for anchors in self.anchors.values() for tensor in anchors.tensors()]
        for visit in self.window:
            held += [visit.sample, visit.model_output]
            held += [] if visit.returned is None else [visit.returned]
            held += [leaf for branch in visit.branches for leaf in branch.leaves]
        return held

    def held_for_again(self) -> int:
        """Bytes of what does not depend on the latent, of all steps of the window; as of its newest."""
        branches = self.window[-1].branches if self.window else ()
        kept = (
            key.of_step(x) if isinstance(key, Tape) else x
            for b in branches
            for key, x in b.memo.items()
        )
        return len(self.window) * sum(x.numel() * x.element_size() for x in tensors(list(kept)))
