"""What a tuning is asked for: checked before anything runs, which may take minutes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...method import checks
from ...method.config import ZCacheConfig
from ...models.request import SEED_MAX
from ..metrics import MOST as MOST_PSNR
from .search import LEAST, NEAR_ENOUGH

DEFAULT_FULL = 10
LEAST_EFFORT = 6.0  # uncached runs' time
FORMS = ("stack", "output")  # granularities that are tried


@dataclass(frozen=True)
class Asked:
    """The arguments of `tune` that are no prompts, as it describes them; checked when they are put together.

    Raises:
        ConfigError: one is outside its limits, or they do not fit together.
    """

    full: int | None = None
    speedup: float | None = None
    psnr: float | None = None
    budgets: Sequence[int] = ()
    effort: float | None = None
    granularity: str | None = None
    folder: str | Path | None = None
    batch: int = 1
    seed: int = 0
    projections: int = 0

    def __post_init__(self) -> None:
        checks.unbox(self)
        object.__setattr__(
            self, "budgets", listed("budgets", self.budgets, "numbers of full steps")
        )
        goals = self.full, self.speedup, self.psnr
        if sum(value is not None for value in goals) > 1:
            raise ConfigError("give one of full, speedup and psnr, not several")
        _between("speedup", self.speedup, 1)
        _between("psnr", self.psnr, 0, MOST_PSNR)
        checks.whole("batch", self.batch, 1)
        checks.whole("seed", self.seed, 0, SEED_MAX)
        checks.whole("projections", self.projections, 0)
        if self.effort is not None and not (checks.is_number(self.effort) and self.effort > 0):
            raise ConfigError(
                f"effort is {self.effort!r}; give uncached runs' time, a number above 0"
            )
        if self.granularity is not None:
            ZCacheConfig(granularity=self.granularity)  # which knows the names
        _check_folder(self.folder)

    def main(self, num_steps: int) -> int:
        """The full steps that are asked for, where no other goal is: by default ten, of short runs half the steps."""
        return self.full or min(DEFAULT_FULL, max(2, num_steps // 2))

    @property
    def forms(self) -> tuple[str, ...]:
        """The granularities that are tried."""
        return FORMS if self.granularity is None else (self.granularity,)

    @property
    def where(self) -> Path | None:
        """The folder of the runs."""
        return None if self.folder is None else Path(self.folder)

    def counts(self, main: int) -> list[int]:
        """All numbers of full steps that settings are looked for, ascending."""
        return sorted({main, *self.budgets})

    def most(self, near: int, far: int) -> float:
        """How many uncached runs' time all runs may take, with so many prompts to calibrate by and held out."""
        return float(max(LEAST_EFFORT, 2 * (near + far)) if self.effort is None else self.effort)

    def check(self, num_steps: int | None, near: int, far: int) -> None:
        """Raise ConfigError for what cannot be done in runs of so many steps, on so many prompts.

        Args:
            num_steps: the most steps that a run may have; None where nobody knows.
        """
        if num_steps is not None:
            checks.whole("num_inference_steps", num_steps, 2)
        given = [] if self.full is None else [("full", self.full)]
        for name, count in [*given, *(("a budget", each) for each in self.budgets)]:
            checks.whole(name, count, 2, num_steps)
        if num_steps is None:
            return
        if self.speedup is not None and self.speedup * NEAR_ENOUGH > num_steps / 2:
            raise ConfigError(
                f"speedup is {self.speedup:g}, and two full steps of {num_steps} give {num_steps / 2:g} at most; "
                "ask for less"
            )
        fewest = self.main(num_steps)
        if self.speedup is not None:
            fewest = 2
        elif self.psnr is not None:
            fewest = min(LEAST, num_steps)
        self.limit(num_steps, near, far, self.counts(fewest))

    def limit(self, num_steps: int, near: int, far: int, counts: Sequence[int]) -> int:
        """How many accelerated runs there may be for each budget.

        Raises:
            ConfigError: fewer than two settings on all prompts take.
        """
        share = sum(counts) / num_steps
        effort = self.most(near, far)
        limit = int((effort - near - far - far * share) / share)
        if limit < 2 * near:
            needed = near + far + (far + 2 * near) * share
            own = " (the default)" if self.effort is None else ""
            raise ConfigError(
                f"effort is {effort:g}{own} uncached runs, and these prompts and budgets need {needed:.1f} at least; "
                "give more effort, or fewer prompts or budgets"
            )
        return limit


def listed(name: str, values: Any, what: str) -> list[Any]:
    """The values of a list, or of anything else that gives them one by one.

    Raises:
        ConfigError: text, a mapping, or a single value.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{name} is {values!r:.60}; give a list of {what}")
    return list(map(checks.plain, values))


def parted(prompts: Any, held_out: Any) -> tuple[list[Any], list[Any]]:
    """The prompts to calibrate by and those to judge by: where none are given, the last third.

    Raises:
        ConfigError: no list, or too few in it.
    """
    prompts = listed("prompts", prompts, "two or more prompts")
    if held_out is None:
        if len(prompts) < 2:
            raise ConfigError(
                f"prompts is {prompts!r:.60}; give two or more, one of them to judge by, or held_out"
            )
        share = max(1, len(prompts) // 3)
        return prompts[:-share], prompts[-share:]
    held_out = listed("held_out", held_out, "one or more prompts")
    for name, values in (("prompts", prompts), ("held_out", held_out)):
        if not values:
            raise ConfigError(f"{name} is []; give a list of one or more prompts")
    return prompts, held_out


def steps_of(pipe: Any, calls: Sequence[Mapping[str, Any]]) -> int | None:
    """The most steps that each of these calls takes, None where that is the pipeline's to know.

    Raises:
        ConfigError: it is no number, or another of another call.
    """
    found = [_steps_of(pipe, call) for call in calls]
    for steps in found:
        if steps is not None:
            checks.whole("num_inference_steps", steps, 2)
        if steps != found[0]:
            raise ConfigError(
                f"num_inference_steps is {found[0]} of one prompt and {steps} of another; give all the same"
            )
    return found[0]


def _steps_of(pipe: Any, call: Mapping[str, Any]) -> Any:
    for name in ("sigmas", "timesteps"):
        if call.get(name) is not None:
            return len(call[name]) if hasattr(call[name], "__len__") else None
    if "num_inference_steps" in call:
        return checks.plain(call["num_inference_steps"])
    known = inspect.signature(type(pipe).__call__).parameters.get("num_inference_steps")
    return known.default if known is not None and isinstance(known.default, int) else None


def _between(name: str, value: object, low: float, high: float | None = None) -> None:
    """Raise ConfigError unless it is None or a number from `low` up, to `high`."""
    if value is None or (
        checks.is_number(value) and low <= value <= (value if high is None else high)
    ):
        return
    limit = f"from {low:g}" + (" up" if high is None else f" to {high:g}")
    raise ConfigError(f"{name} is {value!r}; give a number {limit}")


def _check_folder(folder: object) -> None:
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise ConfigError(f"folder is {folder!r:.60}; give a path")
    if folder is not None and Path(folder).is_file():
        raise ConfigError(f"folder is {folder}, which is a file; give a folder")
