"""L2C's router: which layers compute at which step, learned once for given weights and a number of steps.

Source: Learning-to-Cache, arXiv:2406.01733 (NeurIPS 2024), and the description of its repository. Of
every two steps the first computes all layers, the second those that its router keeps, and reuses the
others' outputs of the first; the router sees the step and no input. `examples/training/train_l2c.py`
learns it, and says what was chosen there. The files are `zcache/data/l2c-MODEL-STEPS.json`:

    model, num_steps
    cached     share of the layers of the routed steps that are reused
    weights    mean absolute weight of every layer, by which a file knows its model
    computed   for each routed step a string of 0 and 1, one for each layer, in the order of `layers`
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import ConfigError, UnsupportedPipelineError
from .layers import Layer

FOLDER = Path(__file__).parents[3] / "data"
SAME = 1e-3  # relative; half precision changes a mean far less, training more


@dataclass(frozen=True)
class Router:
    """A learned router.

    Args:
        num_steps: sampling steps; the odd ones (counted from 0) are routed.
        computed: for each routed step, which layers compute.
        weights: `marks` of the layers that it was learned on.

    Raises:
        ConfigError: there is not one row for each routed step, or not one mark for each layer.
    """

    model: str
    num_steps: int
    computed: tuple[tuple[bool, ...], ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        rows = {len(row) for row in self.computed}
        if len(self.computed) != self.num_steps // 2 or rows - {len(self.weights)}:
            raise ConfigError(
                f"the router of {self.model} has {len(self.computed)} rows of {sorted(rows)} layers; "
                f"{self.num_steps} steps and {len(self.weights)} layers need "
                f"{self.num_steps // 2} rows of {len(self.weights)}: learn it anew with "
                "examples/training/train_l2c.py"
            )

    @property
    def cached(self) -> float:
        """Share of the layers of the routed steps that are reused."""
        entries = [kept for row in self.computed for kept in row]
        return 1 - sum(entries) / len(entries) if entries else 0.0

    def plan(self) -> tuple[tuple[bool, ...], ...]:
        """Return for every step which layers are computed."""
        every = (True,) * len(self.weights)
        return tuple(
            self.computed[step // 2] if step % 2 else every for step in range(self.num_steps)
        )

    def fits(self, weights: Sequence[float]) -> bool:
        """Whether it was learned on layers of these marks."""
        return len(weights) == len(self.weights) and all(
            math.isclose(a, b, rel_tol=SAME) for a, b in zip(weights, self.weights, strict=True)
        )

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        values = {
            "model": self.model,
            "num_steps": self.num_steps,
            "cached": round(self.cached, 4),
            "weights": self.weights,
            "computed": ["".join(str(int(kept)) for kept in row) for row in self.computed],
        }
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Router:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        computed = tuple(tuple(kept == "1" for kept in row) for row in values["computed"])
        return cls(values["model"], values["num_steps"], computed, tuple(values["weights"]))


def marks(known: Sequence[Layer]) -> tuple[float, ...]:
    """Return the mean absolute weight of every layer, six digits."""
    found = []
    for layer in known:
        weights = [weight.detach().float().abs() for weight in layer.module.parameters()]
        mean = sum(float(w.sum()) for w in weights) / max(1, sum(w.numel() for w in weights))
        found.append(float(f"{mean:.6g}"))
    return tuple(found)


def find(known: Sequence[Layer], num_steps: int, folder: Path = FOLDER) -> Router:
    """Return the router that was learned on these layers for this number of steps.

    Raises:
        UnsupportedPipelineError: there is none.
    """
    routers = [Router.load(path) for path in sorted(folder.glob("l2c-*.json"))]
    weights = marks(known)
    for router in routers:
        if router.num_steps == num_steps and router.fits(weights):
            return router
    there = ", ".join(f"{router.model} of {router.num_steps} steps" for router in routers)
    raise UnsupportedPipelineError(
        f"no router of L2C was learned on these weights for {num_steps} steps (there is: {there or 'none'}); "
        "learn one with examples/training/train_l2c.py, or leave this peer out for this model"
    )
