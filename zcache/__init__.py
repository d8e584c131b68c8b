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

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from .method.config import ZCacheConfig
from .method.profile import Profile
from .method.recommended import recommended
from .method.schedule import Plan

if TYPE_CHECKING:
    from .caching import adapters
    from .caching.enable import disable, enable, enabled
    from .caching.handle import ZCache
    from .caching.report import Report
    from .measure.tune import tune

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


# What needs torch is imported when it is asked for: planning and `--help` need none.
_WITH_TORCH = {
    "Report": "caching.report",
    "ZCache": "caching.handle",
    "disable": "caching.enable",
    "enable": "caching.enable",
    "enabled": "caching.enable",
    "tune": "measure.tune",
}


def __getattr__(name: str) -> Any:
    if name == "adapters":
        return import_module(".caching.adapters", __name__)
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WITH_TORCH[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
