"""SmoothCache's plan: which steps compute a kind of layer. Plain numbers, no tensors.

Source: SmoothCache, arXiv:2411.10510, and the description of its repository. On a few uncached runs
the relative L1 error of every layer's output to its output one, two and three steps before is
averaged over the layers of a kind and the runs; from then on a kind is reused, in all blocks at
once, for as long as that average stays below alpha. Choices, where the sources are silent or differ:

- Ten runs, as published, at seeds that are not evaluated.
- A kind is a layer's name in its list of blocks: attention and MLP of DiT (the two published ones); of
  FLUX and HunyuanVideo the attention, image MLP and text MLP of two-stream blocks, and the projection
  of single-stream ones.
- A window ends before the first step whose error is not *below* alpha, so every reuse is below it, and
  alpha 0 computes everything. The published code takes the longest window whose last error is at
  most alpha, whatever lies between.
- At most three steps in a row are reused, and first and last step are computed, as in the published
  plans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ....errors import ConfigError

FARTHEST = 3  # steps that a layer's output is reused for
RUNS = 10  # of calibration

Errors = Mapping[tuple[int, int], float]  # (step, later step) to error


def check(alpha: float) -> None:
    """Raise ConfigError if alpha is no number from 0 up."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not number or not math.isfinite(alpha) or alpha < 0:
        raise ConfigError(
            f"alpha is {alpha!r}; give the largest relative error of a reused layer, from 0 up, for example 0.22"
        )


def plan(errors: Errors, alpha: float, num_steps: int) -> tuple[bool, ...]:
    """Return for every step whether a kind of layer is computed.

    Args:
        errors: mean error of reusing the output of step i at step j, by (i, j); a pair that is
            missing is not reused.
    """
    computed = [True] * num_steps
    anchor = 0
    for step in range(1, num_steps - 1):
        near = step - anchor <= FARTHEST
        if near and errors.get((anchor, step), math.inf) < alpha:
            computed[step] = False
        else:
            anchor = step
    return tuple(computed)


def by_layer(
    plans: Mapping[str, Sequence[bool]], kinds: Sequence[str]
) -> tuple[tuple[bool, ...], ...]:
    """Return for every step which layers are computed, from the plans of their kinds."""
    return tuple(zip(*(plans[kind] for kind in kinds), strict=True))
