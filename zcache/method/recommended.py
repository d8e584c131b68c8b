"""Our own settings for a pipeline."""

from __future__ import annotations

from typing import Any

from .config import ZCacheConfig


def recommended(pipe: Any, interval: int = 5, **changes: Any) -> ZCacheConfig:
    """Return the settings that our study supports for a pipeline: ZCacheConfig's own, for every sampler.

    Args:
        pipe: a diffusers pipeline; kept for samplers that may want others.
        interval: N.
        changes: settings of ZCacheConfig that are to be others.

    Raises:
        ConfigError: a value is outside its limits, or a setting unknown.
    """
    return ZCacheConfig.from_dict({"interval": interval, **changes})
