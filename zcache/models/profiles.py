"""The profiles that ship with the package: what `tune` found on the embedded models.

`examples/profiles/README.md` says how they were made. What is claimed of them is read from them,
so that a new profile brings its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from math import log

from ..method.profile import Profile
from .catalogue import KNOWN, Model

FOLDER = "profiles"


def of(model: Model) -> Profile | None:
    """Return the profile of a model that is known by name; None of any other and where there is none."""
    return _named(model.name) if model.name in KNOWN else None


def near(profile: Profile, ratios: Sequence[float]) -> dict[int, float]:
    """Return the budgets whose FLOPs speedups, as measured, are nearest to these; by number of full steps,
    the most careful first."""
    known = {full: row["flops_speedup"] for full, row in profile.figures.items()}
    chosen = {
        min(known, key=lambda full: abs(log(known[full] / ratio))) for ratio in ratios if known
    }
    return {full: known[full] for full in sorted(chosen, reverse=True)}


@lru_cache(maxsize=16)
def _named(name: str) -> Profile | None:
    path = resources.files("zcache") / "data" / FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    with resources.as_file(path) as file:
        return Profile.load(file)
