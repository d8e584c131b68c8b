"""What is cached where the granularity is automatic.

A cached output does not answer the latent, so a correction that is built on it goes the whole way, where
embedder and head would hold it back; guidance enlarges that until it breaks. Of a diffusion sampler whose
model tells the noise, with mild guidance, it is right: the output is nearly a line in the steps. Everywhere
else the stack is cached (examples/study)."""

from __future__ import annotations

from itertools import pairwise

from . import bases, relaxation
from .config import AUTOMATIC, ZCacheConfig

MILD = 1.6  # guidance up to which a diffusion sampler's output is cached


def is_mild(guidance: float | None) -> bool:
    """Whether a scale is known to be at most `MILD`."""
    return guidance is not None and guidance <= MILD


def settled(
    config: ZCacheConfig,
    num_steps: int,
    diffusion: bool = False,
    guidance: float | None = None,
) -> ZCacheConfig:
    """The config with the granularity that an automatic one stands for; where a diffusion sampler's output is
    cached, asked for or not, with the weight and the shorter correction that are right for it.

    Args:
        diffusion: whether the sampler is a diffusion one whose model tells the noise.
        guidance: its scale, 1 for none; None where nobody knows.

    Raises:
        ConfigError: the config does not fit the steps.
    """
    if config.granularity not in (AUTOMATIC, "output"):
        return config
    asked = config.granularity == "output"
    usual = (config.order, config.weight, config.relax) == (1, AUTOMATIC, "time")
    usual = usual and config.base in (bases.AUTOMATIC, bases.TAYLORSEER)
    if not (diffusion and usual and (asked or is_mild(guidance))):
        return config if asked else config.replace(granularity="stack")
    full = (*config.plan(num_steps, diffusion=True).full_steps, num_steps)
    longest = max(b - a for a, b in pairwise(full))
    kept = relaxation.of_output(longest / num_steps)
    return config.replace(granularity="output", weight="logarithmic", relax=kept)
