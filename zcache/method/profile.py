"""A profile: the full steps, weights and relaxation that `zcache.tune` found on one model, as a small JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ProfileError
from . import checks
from .config import ZCacheConfig
from .laid_out import compact

VERSION = 1
MEASURED = ("flops_speedup", "psnr")  # the figures that settings are chosen by


@dataclass(frozen=True)
class Profile:
    """What was found, and where.

    Attributes:
        model: class name of the transformer.
        scheduler: class name of the scheduler; `scheduler_config` its settings.
        call: arguments of the pipeline call that are plain values (steps, guidance, size).
        prediction: what the scheduler's model predicts, such as `flow_prediction` or `epsilon`.
        budgets: settings by number of full steps.
        default: the number of full steps that `config()` takes.
        figures: what was measured on held-out prompts, by number of full steps: `psnr`,
            `psnr_interval`, `ssim`, `flops_speedup`, `speedup`.
    """

    model: str
    scheduler: str
    prediction: str
    default: int
    budgets: dict[int, ZCacheConfig]
    figures: dict[int, dict[str, Any]] = field(default_factory=dict)
    scheduler_config: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)

    def config(
        self, full: int | None = None, *, speedup: float | None = None, psnr: float | None = None
    ) -> ZCacheConfig:
        """The settings of a budget.

        Args:
            full: number of full steps; None takes the profile's default.
            speedup: at least so many times fewer FLOPs, as measured; the best quality of these.
            psnr: at least so many dB on held-out prompts, as measured; the fastest of these.

        Raises:
            ConfigError: more than one of the three, or nothing in the profile fulfils it.
        """
        if sum(value is not None for value in (full, speedup, psnr)) > 1:
            raise ConfigError("give one of full, speedup and psnr, not several")
        name, value = "full", checks.plain(self.default if full is None else full)
        if speedup is not None:
            name, value = "speedup", checks.plain(speedup)
            found = max(self._reach("flops_speedup", name, value), default=None)
        elif psnr is not None:
            name, value = "psnr", checks.plain(psnr)
            found = min(self._reach("psnr", name, value), default=None)
        else:
            checks.whole(name, value, 0)
            found = value
        if found not in self.budgets:
            raise ConfigError(
                f"the profile has nothing for {name} {value}; it has {', '.join(map(str, sorted(self.budgets)))} "
                "full steps: choose one, or tune again"
            )
        return self.budgets[found]

    def _reach(self, figure: str, name: str, least: Any) -> list[int]:
        """The numbers of full steps of which a figure was measured to be at least so much."""
        if not checks.is_number(least):
            raise ConfigError(f"{name} is {least!r:.60}; give a number")
        known = {m: (row or {}).get(figure) for m, row in self.figures.items() if m in self.budgets}
        return [m for m, reached in known.items() if reached is not None and reached >= least]

    def check(self, model: str, prediction: str) -> None:
        """Raise ProfileError unless the profile was found on this kind of model and sampler."""
        for noun, own, theirs in (
            ("transformer", self.model, model),
            ("prediction type", self.prediction, prediction),
        ):
            if own != theirs:
                raise ProfileError(
                    f"the profile was found on {noun} {own}, and this pipeline has {theirs}; make one for it "
                    "with zcache.tune, or enable with a ZCacheConfig"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "version": VERSION,
            "model": self.model,
            "scheduler": self.scheduler,
            "prediction": self.prediction,
            "default": self.default,
            "scheduler_config": self.scheduler_config,
            "call": self.call,
            "budgets": {str(m): config.to_dict() for m, config in self.budgets.items()},
            "figures": {str(m): row for m, row in self.figures.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Profile:
        """The inverse of `to_dict`.

        Raises:
            ProfileError: another version, no profile, or a damaged one. ConfigError: settings that do not hold.
        """
        if not isinstance(values, Mapping) or values.get("version") != VERSION:
            found = values.get("version") if isinstance(values, Mapping) else None
            raise ProfileError(
                f"this is no profile of version {VERSION} (its version: {found!r}); make one with zcache.tune"
            )
        own = {key: value for key, value in values.items() if key != "version"}
        try:
            own["budgets"] = {
                int(m): ZCacheConfig.from_dict(config) for m, config in own["budgets"].items()
            }
            own["figures"] = {int(m): row for m, row in own.get("figures", {}).items()}
            profile = cls(**own)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ProfileError(
                f"the profile is damaged ({error}); make it again with zcache.tune"
            ) from error
        _check(profile)
        if profile.default not in profile.budgets:
            raise ProfileError(
                f"the profile's default of {profile.default} full steps is not among its budgets; "
                "make it again with zcache.tune"
            )
        return profile

    def save(self, path: str | Path) -> Path:
        """Write the profile as JSON and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(compact(self.to_dict()) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile.

        Raises:
            ProfileError: no such file, no JSON, or no profile of this version.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = getattr(error, "strerror", None) or error
            raise ProfileError(
                f"{path} cannot be read as a profile ({why}); give the JSON file that zcache.tune wrote"
            ) from error
        return cls.from_dict(values)


def _check(profile: Profile) -> None:
    """Raise ProfileError for what `from_dict` was given in the place of a value of another kind."""
    kinds: dict[str, type] = {"model": str, "scheduler": str, "prediction": str, "default": int}
    kinds |= {"scheduler_config": Mapping, "call": Mapping}
    for name, kind in kinds.items():
        if not isinstance(value := getattr(profile, name), kind):
            raise ProfileError(
                f"the profile is damaged ({name} is {value!r:.60}); make it again with zcache.tune"
            )
    for count, row in profile.figures.items():
        numbers = [row.get(n) for n in MEASURED] if isinstance(row, Mapping) else [None]
        if not all(map(checks.is_number, numbers)):
            raise ProfileError(
                f"the profile is damaged (its figures of {count} full steps are {row!r:.60}, and lack a number "
                f"for {' or '.join(MEASURED)}); make it again with zcache.tune"
            )
