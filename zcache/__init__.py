"""zcache: training-free feature caching for diffusion transformers, with reflection (Z-Cache).

| paper | here |
|---|---|
| H_t = {h_t^l} | feature: what a granularity caches of one denoiser call |
| A, H_A | anchors: the steps computed in full, and their features |
| C(H_A, k) | `bases`: forecast of a feature at step k |
| w = W(k) | `weights`: trust in the newer anchor, 0 at `start`, 1 at `stop` |
| t_2, t_1 | `start`, `stop`: the older and the newer anchor of a window |
| N | `interval`: distance between neighbouring full steps |
| O | `order` of the base strategy |

A step is an index that counts up from 0, the noisiest; timesteps belong to the scheduler.
"""

from .caching import adapters
from .caching.enable import disable, enable, enabled
from .caching.handle import ZCache
from .caching.report import Report
from .errors import (
    AlreadyEnabledError,
    CheckpointError,
    ConfigError,
    NotEnabledError,
    ProfileError,
    UnsupportedPipelineError,
    ZCacheError,
)
from .method import bases, schedule, weights
from .method.config import Plan, ZCacheConfig
from .method.profile import Profile
from .method.recommended import recommended

__all__ = [
    "AlreadyEnabledError",
    "CheckpointError",
    "ConfigError",
    "NotEnabledError",
    "Plan",
    "Profile",
    "ProfileError",
    "Report",
    "UnsupportedPipelineError",
    "ZCache",
    "ZCacheConfig",
    "ZCacheError",
    "adapters",
    "bases",
    "disable",
    "enable",
    "enabled",
    "recommended",
    "schedule",
    "tune",
    "weights",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`zcache.tune`, which measures pictures, is imported when it is asked for."""
    if name == "tune":
        from .measure.tune import tune

        return tune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
