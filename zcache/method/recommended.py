"""Our own settings by the kind of sampler."""

from __future__ import annotations

from typing import Any

from .config import ZCacheConfig

# Besides the defaults of ZCacheConfig; examples/study has the figures.
DIFFUSION: dict[str, Any] = {}


def recommended(pipe: Any, interval: int = 5, **changes: Any) -> ZCacheConfig:
    """Return the settings that our study supports for a pipeline's sampler.

    Flow matching (FLUX, HunyuanVideo): the defaults of ZCacheConfig. Diffusion samplers (DDIM with
    DiT): order 2, no forced full last step, and reflection that is not relaxed.

    Args:
        pipe: a diffusers pipeline, of which the scheduler's config is read.
        interval: N.
        changes: settings of ZCacheConfig that are to be others.

    Raises:
        ConfigError: a value is outside its limits.
    """
    predicts = getattr(pipe.scheduler.config, "prediction_type", "flow_prediction")
    own = settings(predicts == "flow_prediction")
    return ZCacheConfig(interval=interval, **{**own, **changes})


def settings(flow: bool) -> dict[str, Any]:
    """The settings that differ from ZCacheConfig's own, for flow matching or for a diffusion sampler."""
    return {} if flow else dict(DIFFUSION)
