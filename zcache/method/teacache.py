"""TeaCache's decision when to compute in full (arXiv:2411.19108), and its published
coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Rescaling polynomials from ali-vilab/TeaCache at 7c10efc (2025-06-08, Apache-2.0), highest power first,
# by transformer class and, where one class serves several models, its size or task.
# They were fitted by their authors on one sampler and step count each, for
# reuse (order 0); a model without an entry uses the identity, and its report says so. Not here: Wan's
# image-to-video (one set for 480P and one for 720P, which a transformer cannot tell apart), Lumina 2
# (fitted behind its refiners, which our signal leaves out).
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
    "WanTransformer3DModel (1.3B)": (
        2.39676752e3,
        -1.31110545e3,
        2.01331979e2,
        -8.29855975,
        1.37887774e-1,
    ),
    "WanTransformer3DModel (14B)": (
        -5784.54975374,
        5449.50911966,
        -1811.16591783,
        256.27178429,
        -13.02252404,
    ),
    "CogVideoXTransformer3DModel (2b)": (
        -3.10658903e1,
        2.54732368e1,
        -5.92380459,
        1.75769064,
        -3.61568434e-3,
    ),
    "CogVideoXTransformer3DModel (5b)": (
        -1.53880483e3,
        8.43202495e2,
        -1.34363087e2,
        7.97131516,
        -5.23162339e-2,
    ),
    "CogVideoXTransformer3DModel (1.5-5B)": (
        2.50210439e2,
        -1.65061612e2,
        3.57804877e1,
        -7.81551492e-1,
        3.58559703e-2,
    ),
    "CogVideoXTransformer3DModel (1.5-5B-I2V)": (
        1.22842302e2,
        -1.04088754e2,
        2.62981677e1,
        -3.06009921e-1,
        3.71213220e-2,
    ),
    "LTXVideoTransformer3DModel (2B)": (
        2.14700694e1,
        -1.28016453e1,
        2.31279151,
        7.92487521e-1,
        9.69274326e-3,
    ),
    "MochiTransformer3DModel": (
        -3.51241319e3,
        8.11675948e2,
        -6.09400215e1,
        2.42429681,
        3.05291719e-3,
    ),
    "CosmosTransformer3DModel (1.0)": (
        2.71156237e2,
        -9.19775607e1,
        2.24437250,
        2.08355751,
        1.41776330e-1,
    ),
    "HiDreamImageTransformer2DModel (I1)": (
        -3.13605009e4,
        -7.12425503e2,
        4.91363285e1,
        8.26515490,
        1.08053901e-1,
    ),
}
# The thresholds on the accumulated distance that their authors ran.
THRESHOLDS: dict[str, tuple[float, ...]] = {
    "FluxTransformer2DModel": (0.25, 0.4, 0.6, 0.8),
    "HunyuanVideoTransformer3DModel": (0.1, 0.15),
    "WanTransformer3DModel (1.3B)": (0.05, 0.07, 0.08),
    "WanTransformer3DModel (14B)": (0.14, 0.15, 0.2),
    "CogVideoXTransformer3DModel (2b)": (0.1, 0.2),
    "CogVideoXTransformer3DModel (5b)": (0.1, 0.2),
    "CogVideoXTransformer3DModel (1.5-5B)": (0.1, 0.2, 0.3),
    "CogVideoXTransformer3DModel (1.5-5B-I2V)": (0.1, 0.2, 0.3),
    "LTXVideoTransformer3DModel (2B)": (0.03, 0.05),
    "MochiTransformer3DModel": (0.06, 0.09),
    "CosmosTransformer3DModel (1.0)": (0.3,),
    "HiDreamImageTransformer2DModel (I1)": (0.17, 0.25, 0.3, 0.45),
}
IDENTITY = (1.0, 0.0)


def rescale(coefficients: Sequence[float], distance: float) -> float:
    """Return the polynomial's value at `distance`, highest power first (Horner)."""
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
        """Begin the sum anew: a full step is taken for another reason, as the first one is, or one
        where the batch or the shape changed."""
        self.total = 0.0
