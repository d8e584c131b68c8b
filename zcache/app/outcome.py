"""What one stage of a run leaves: files and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One stage of a run: first only the accelerated side, then everything.

    `paths` has "accelerated", and when `done` also "baseline", "side_by_side", "difference" and
    "report", and "base_alone" where the base without reflection was run.
    """

    paths: dict[str, str]
    report: dict[str, Any] = field(default_factory=dict)
    done: bool = False
