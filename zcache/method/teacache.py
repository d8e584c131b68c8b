"""TeaCache's decision when to compute in full (arXiv:2411.19108), and its published
coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SOURCE = "ali-vilab/TeaCache at 7c10efc (2025-06-08), Apache-2.0"

# Rescaling polynomials, highest power first, by transformer class. They were fitted by their
# authors on one sampler and step count each; a model without an entry uses the identity, and its
# report says so.
COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "FluxTransformer2DModel": (
        4.98651651e2,
        -2.83781631e2,
        5.58554382e1,
        -3.82021401,
        2.64230861e-1,
    ),
    "HunyuanVideoTransformer3DModel": (
        7.33226126e2,
        -4.01131952e2,
        6.75869174e1,
        -3.14987800,
        9.61237896e-2,
    ),
}
IDENTITY = (1.0, 0.0)


def rescale(coefficients: Sequence[float], distance: float) -> float:
    """The polynomial at `distance`, highest power first (Horner)."""
    value = 0.0
    for coefficient in coefficients:
        value = value * distance + coefficient
    return value


@dataclass
class Accumulator:
    """Adds up rescaled distances between the signals of neighbouring steps; says when to compute in
    full.

    Args:
        coefficients: rescaling polynomial, highest power first.
        threshold: full once the sum reaches it (the published rule); None scales it to the run
            itself: `interval` times the mean rescaled distance seen so far, so that N keeps its
            meaning for models without a published threshold (ours).
        interval: N, used only without a threshold.
    """

    coefficients: Sequence[float]
    threshold: float | None
    interval: int
    total: float = 0.0
    seen: float = 0.0
    count: int = 0

    def is_full(self, distance: float) -> bool:
        """Take the relative L1 distance of this step's signal to the last one's; reset the sum if
        full."""
        change = rescale(self.coefficients, distance)
        self.total += change
        self.seen += change
        self.count += 1
        threshold = self.threshold
        if threshold is None:
            threshold = self.interval * self.seen / self.count * (1 - 1e-9)
        if self.total < threshold:
            return False
        self.total = 0.0
        return True

    def restart(self) -> None:
        """A full step was taken for another reason (first, last)."""
        self.total = 0.0
