"""The anchors of one denoiser call: the steps computed in full, and the features found there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..method.bases import Base, blend, reach
from .features import Feature, combine, tensors


class Anchors:
    """Features of the newest full steps, oldest first; only as many as a blend can use are held.

    Args:
        base: the strategy that forecasts from them.
        order: its order O.
    """

    def __init__(self, base: Base, order: int) -> None:
        self.steps: list[int] = []
        self.features: list[Feature] = []
        self.output: Any = None
        self._base, self._order = base, order
        self._held = reach(base, order) + 1

    @property
    def newest(self) -> int:
        return self.steps[-1]

    def add(self, step: int, feature: Feature, output: Any) -> None:
        """Take the features of a full step. `output` is kept for its container type."""
        self.steps.append(step)
        self.features.append(feature)
        del self.steps[: -self._held], self.features[: -self._held]
        self.output = output

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
