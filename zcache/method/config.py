"""ZCacheConfig: what the cache does, checked when it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from . import bases, checks, forecasts, guided, relaxation, schedule, weights
from .schedule import Plan

AUTOMATIC = weights.AUTOMATIC
GRANULARITIES = ("stack", "module", "output")
GRANULARITY_CHOICES = (AUTOMATIC, *GRANULARITIES)
MAX_ORDER = 6
FITTED = weights.FITTED


@dataclass(frozen=True)
class ZCacheConfig:
    """Settings of one cache. All are checked at construction.

    Args:
        interval: N, the distance between neighbouring full steps: N - 1 cached steps between two
            full ones. 1 computes everything and is bit-identical to no cache. Larger is faster, and less exact.
        base: strategy that forecasts features from the anchors: `taylorseer`, `damped`, `fora`, `teacache`,
            `hicache`, `foca`, `spectrum`, `fitted` (`forecasts`), or one you registered in `zcache.bases`.
            `automatic` is `taylorseer`; of a diffusion sampler, at order 1, along the angle of picture and noise
            (see abscissa.py); in a flow with guidance `damped` from the first reflection on, or `fora` (guided.py).
        weight: trust in the newer anchor along a window: `logarithmic` (the paper's), `linear`,
            `cosine`, `sqrt`, `quadratic`, `half`, `future`, one you registered in `zcache.weights`,
            or a callable (j, n) -> weight in [0, 1] for the j-th of a window's n steps. `automatic`
            interpolates between both anchors: it is `future` where the base's own forecast passes
            through both, and else `linear`, also in a flow with guidance.
        reflect: go back over each window once its newer anchor is computed (the paper's
            reflection). Off leaves the bare base strategy.
        order: O, the highest derivative of `taylorseer` and `hicache`; 0 is reuse. 1 is what the
            authors of the former recommend, 2 those of the latter; below 2 they are the same.
        placement: where full steps stand: `timed` (evenly; of a flow drawn to its beginning and to where its time
            falls fast, of a diffusion sampler with the last of them half a window before the end), `even`,
            `warmup` (the paper's and TaylorSeer's), or one you registered in `zcache.schedule`.
        warmup: full steps at the beginning; None is 3 for `warmup` and else 1. `teacache`, which decides on
            its full steps as it goes, knows no placement; it begins with as many as are asked for, or 1.
        last_full: whether the last step is always full; None leaves it to the placement: only `timed`
            on a diffusion sampler leaves it open.
        full_steps: explicit list of full steps; then interval, placement, warmup and last_full play
            no part.
        first_window: whether the first window is reflected too.
        last_window: whether a window that the very last step closes is reflected too.
        granularity: what is cached: `stack` (one residual of the whole block stack), `module`
            (features of every layer before the gate, as in the paper; gigabytes on large models) or
            `output` (the model's output; works for every denoiser). `automatic` is `stack`; where the model
            tells a diffusion sampler the noise, with a guidance of at most 1.6, it is `output`, if base is
            `automatic` or `taylorseer` and order, weight and relax are the defaults. Then a diffusion sampler's
            output, asked for or not, is blended with the logarithmic weight and corrected by less.
        relax: how far reflection may move the latent at the newer anchor: `time`
            (2 t_stop / (t_start + t_stop) in the time of the flow, at least 0.4; of a flow with guidance less of
            long windows, and the less the stronger it is; nothing where a diffusion sampler has fewer than 4/3
            full steps for every unit of guidance above 1), `sigma` (with the scheduler's noise levels), a factor
            in [0, 1], or None (the paper: all).
        factors: the weight of every step, for `weight="fitted"` with explicit full steps; found by
            `zcache.tune`.
        forecasts: of every step its factors of the anchors before it, and of these and the next (forecasts.py), for
            `base="fitted"` with explicit full steps; found by `zcache.tune`.
        guidance: the scale that forecasts were fitted at (added up times told); a run at another takes the
            defaults. None asks nothing.
        times: noise levels, as times of the flow from 0 to 1 (noise), of the steps that full_steps, factors and
            forecasts count; they fall, or rise where a picture is inverted. A run at other levels maps them to its
            nearest steps.
        threshold: TeaCache's threshold on the accumulated distance; None derives it from `interval`
            during the run (see `zcache.teacache`).

    Raises:
        ConfigError: a value is outside its limits; the message names value, limit and cure.
    """

    interval: int = 5
    base: str = bases.AUTOMATIC
    weight: str | weights.WeightFunction = AUTOMATIC
    reflect: bool = True
    order: int = 1
    placement: str = "timed"
    warmup: int | None = None
    last_full: bool | None = None
    full_steps: tuple[int, ...] | None = None
    first_window: bool = True
    last_window: bool = True
    granularity: str = AUTOMATIC
    relax: str | float | None = "time"
    factors: tuple[float, ...] | None = None
    forecasts: tuple[forecasts.Row, ...] | None = None
    guidance: float | None = None
    times: tuple[float, ...] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        checks.unbox(self)
        checks.whole("interval", self.interval, 1)
        checks.whole("order", self.order, 0, MAX_ORDER)
        if self.warmup is not None:
            checks.whole("warmup", self.warmup, 1)
        for name in ("reflect", "last_full", "first_window", "last_window"):
            free = name == "last_full" and self.last_full is None
            if not free and not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give True or False")
        if self.base != bases.FITTED:
            bases.resolve(self.base)
        if self.weight not in (FITTED, AUTOMATIC):
            checks.weight(weights.resolve(self.weight))
        schedule.resolve_placement(self.placement)
        if self.granularity not in GRANULARITY_CHOICES:
            known = ", ".join(GRANULARITY_CHOICES)
            raise ConfigError(
                f"granularity {self.granularity!r} is unknown; choose one of: {known}"
            )
        if self.full_steps is not None:
            object.__setattr__(self, "full_steps", checks.ascending(self.full_steps))
        for name in ("factors", "times"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.numbers(name, getattr(self, name)))
        if self.forecasts is not None and self.full_steps is not None:
            own = forecasts.checked(self.forecasts, self.full_steps)
            object.__setattr__(self, "forecasts", own)
        checks.fitted(self)
        checks.relax(self.relax, relaxation.NAMES)
        checks.threshold(self.threshold, self.base)

    @classmethod
    def paper(cls, interval: int, **changes: Any) -> ZCacheConfig:
        """The paper's own setting: three warm-up steps, then every N-th and the last, log weight,
        unrelaxed."""
        own = {
            "base": bases.TAYLORSEER,
            "placement": "warmup",
            "weight": "logarithmic",
            "relax": None,
        }
        return cls.from_dict({"interval": interval, **own, **changes})

    def guided_base(
        self,
        full_steps: Sequence[int],
        num_steps: int,
        flow_times: Sequence[float] = (),
        added: float = 1.0,
        turned: float = 0.0,
    ) -> str | None:
        """The base that a flow with guidance is reflected on, where that is for the run to choose; else None.

        Args:
            flow_times: at every step; without them they are taken to fall evenly.
            added: the scale of guidance that is added up from outputs; 1 where the denoiser is told it.
            turned: how far the outputs turned in the first window, as a part of their size; 0 before that.
        """
        if self.base != bases.AUTOMATIC or not self.reflect or self.weight == FITTED:
            return None
        times = flow_times or [1 - step / num_steps for step in range(num_steps)]
        astray = guided.leads_astray(full_steps, times, added, turned)
        return bases.FORA if astray else bases.DAMPED

    @property
    def strategy(self) -> bases.Base:
        """The base strategy that a run begins with."""
        if self.base == bases.FITTED:
            return forecasts.Forecasts(self.full_steps or (), self.forecasts or ())
        return bases.resolve(self.base)

    @property
    def adaptive(self) -> bool:
        """Whether full steps are decided during the run (TeaCache without an explicit list)."""
        return self.base == "teacache" and self.full_steps is None

    @property
    def reflection(self) -> schedule.Reflection:
        """Which windows are reflected."""
        return schedule.Reflection(self.reflect, self.first_window, self.last_window)

    @property
    def weight_function(self) -> weights.WeightFunction | weights.Fitted:
        """What `weights.weight_at` takes."""
        if self.weight == FITTED:
            return weights.Fitted(self.factors or ())
        if self.weight == AUTOMATIC:
            straight = bases.interpolates(self.strategy, self.order)
            return weights.future if straight or self.base == bases.FITTED else weights.linear
        return weights.resolve(self.weight)

    def weight_in(self, guided_flow: bool) -> weights.WeightFunction | weights.Fitted:
        """`weight_function`; in a flow with guidance the linear one, where the weight is automatic."""
        free = self.weight == AUTOMATIC and self.base != bases.FITTED
        return weights.linear if guided_flow and free else self.weight_function

    def plan(
        self, num_steps: int, flow_times: Sequence[float] = (), diffusion: bool = False
    ) -> Plan:
        """The full steps and the walk for a run of `num_steps` steps.

        For `teacache` this is the walk without adaptation, that is if every step changes the signal
        alike.

        Args:
            num_steps: steps of the sampling loop.
            flow_times: a flow's time at every one of them, as a run knows it, for the placement `timed`;
                without them its full steps are as many, and even.
            diffusion: whether the run's sampler is a diffusion's, not a flow's.

        Raises:
            ConfigError: the interval or an explicit full step does not fit into `num_steps`.
        """
        checks.whole("num_steps", num_steps, 1)
        if self.full_steps is not None:
            for name in ("factors", "forecasts"):
                own = getattr(self, name)
                if own is not None and len(own) != num_steps:
                    raise ConfigError(
                        f"{len(own)} {name} for {num_steps} steps; run as many steps as were fitted, or give "
                        "their times, by which they are mapped"
                    )
            if self.full_steps[-1] >= num_steps:
                raise ConfigError(
                    f"full step {self.full_steps[-1]} is beyond the last of {num_steps} steps; "
                    f"give full steps from 0 to {num_steps - 1}"
                )
            full = self.full_steps
        else:
            warmup = self.warmup or (3 if self.placement == "warmup" else 1)
            last = self.last_full
            if last is None:
                last = not (diffusion and self.placement == "timed")
            full = schedule.full_steps(
                num_steps, self.interval, self.placement, warmup, last, flow_times
            )
        passes = schedule.walk(num_steps, full, self.weight_function, self.reflection)
        return Plan(num_steps, full, passes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Raises:
            ConfigError: the weight is a callable without a registered name.
        """
        if callable(self.weight):
            raise ConfigError(
                f"weight {self.weight!r} is a callable and cannot be written down; "
                "register it with zcache.weights.register and use its name"
            )
        values = asdict(self)
        for name in ("full_steps", "factors", "times"):
            if values[name] is not None:
                values[name] = list(values[name])
        if self.forecasts is not None:
            values["forecasts"] = [[list(row) for row in rows] for rows in self.forecasts]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ZCacheConfig:
        """The inverse of `to_dict`; an unknown key raises ConfigError."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"settings are {values!r:.60}; give a dict of them, as to_dict makes")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known, key=str)
        if unknown:
            raise ConfigError(
                f"unknown setting {unknown[0]!r}; known are: {', '.join(sorted(known))}"
            )
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path) -> ZCacheConfig:
        """Read settings that were written as JSON (`to_dict`), or a profile's at its default of full steps.

        `zcache.enable(pipe, Profile.load(path))` also refuses a pipeline that a profile was not found on.

        Raises:
            ConfigError: no such file, no JSON, or settings that do not hold.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if "budgets" in values:
                values = values["budgets"][str(values["default"])]
            if not isinstance(values, Mapping):
                raise TypeError(f"it holds {values!r:.60}")
            return cls.from_dict(values)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{path} cannot be read as settings ({why}); give the JSON of a ZCacheConfig or a profile"
            ) from error

    def replace(self, **changes: Any) -> ZCacheConfig:
        """A copy with some settings changed, checked again; an unknown one raises ConfigError."""
        return self.from_dict({**vars(self), **changes})
