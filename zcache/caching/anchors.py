"""The anchors of one denoiser call: the steps computed in full, and the features found there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..method.bases import Base, blend, reach
from .features import Feature, combine, leaves, rebuild, tensors


class Anchors:
    """Features of the newest full steps, oldest first; None in place of those that no blend will use.

    Args:
        base: the strategy that forecasts from them.
        order: its order O.
    """

    def __init__(self, base: Base, order: int) -> None:
        self.steps: list[int] = []
        self.features: list[Feature] = []
        self.output: Any = None
        self._order = order
        self.forecast_by(base)

    def forecast_by(self, base: Base) -> None:
        """Change the strategy."""
        self._base, self._reach = base, reach(base, self._order)

    @property
    def newest(self) -> int:
        return self.steps[-1]

    @property
    def holds_past(self) -> bool:
        """Whether a blend may look from the anchor before the newest."""
        return all(feature is not None for feature in self.features)

    def make_room(self, past: bool) -> None:
        """Before a full step: let go of what nothing will use. `past`: whether the window that it closes
        is blended with forecasts that know nothing of it."""
        self._keep(self._reach if past else self._reach - 1)

    def add(self, step: int, feature: Feature, output: Any) -> None:
        """Take the features of a full step. Of `output`, the container type is kept."""
        self.steps.append(step)
        self.features.append(feature)
        held = self._reach + 1
        del self.steps[:-held], self.features[:-held]
        self.output = rebuild(output, tuple(leaf.new_empty(0) for leaf in leaves(output)))

    def close_window(self) -> None:
        """Let go of what only the window before the newest anchor has used."""
        self._keep(self._reach)

    def _keep(self, count: int) -> None:
        for index in range(len(self.features) - count):
            self.features[index] = None

    def forecast(self, step: int) -> Feature:
        """Return C(H_A, k) from all anchors held."""
        factors = self._base(self.steps, step, self._order)
        return combine(self.features[-len(factors) :], factors)

    def reflect(self, step: int, weight: float) -> Feature:
        """Return (1-w) C(H_A, k) + w C(H_{A+stop}, k), `stop` being the newest anchor; there, its
        own feature."""
        if step == self.newest:
            return self.features[-1]
        factors = blend(self._base, self.steps, step, self._order, weight)
        return combine(self.features[-len(factors) :], factors)

    def tensors(self) -> list[Tensor]:
        return list(tensors(tuple(self.features)))
