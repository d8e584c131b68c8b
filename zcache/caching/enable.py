"""enable, disable, enabled: put one cache on one diffusers pipeline, and take it off again without
a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import AlreadyEnabledError, ConfigError, NotEnabledError
from ..method.config import ZCacheConfig
from ..method.profile import Profile
from ..method.recommended import recommended
from .bindings import inner
from .handle import ZCache, handles
from .pipeline import find_denoisers, refuse_other_caches
from .scheduler import check
from .times import prediction


def enable(pipe: Any, config: ZCacheConfig | Profile | None = None) -> ZCache:
    """Put a cache on a diffusers pipeline. Its loop, callbacks and progress bar stay as they are.

    The cache is at work within the pipeline's own calls only: direct calls of the transformer, other
    pipelines that share it, callbacks and other threads are answered as if there were none.

    Args:
        pipe: a diffusers pipeline with a `transformer` and a `scheduler`.
        config: settings, or a profile, of which the default budget is taken; None takes those of
            `zcache.recommended`.

    Returns:
        A handle, with `report()`, `disable()`, and `sampling()` for loops of your own.

    Raises:
        AlreadyEnabledError: the pipeline has a cache already. UnsupportedPipelineError: no denoiser
        that we know, or a scheduler that cannot be followed. ProfileError: the profile was found on
        another kind of model. ConfigError: `config` is neither settings nor a profile.
    """
    if config is not None and not isinstance(config, ZCacheConfig | Profile):
        raise ConfigError(f"config is {config!r:.60}; give a ZCacheConfig or a Profile")
    found_with = config.scheduler if isinstance(config, Profile) else ""
    return put_on(pipe, lambda: ZCache(pipe, settings(pipe, config), found_with))


def put_on(pipe: Any, build: Callable[[], ZCache]) -> ZCache:
    """Build a handle and put it on its pipeline; raises as `enable` does."""
    check_ready(pipe)
    handle = build()
    handle.attach()
    handles[pipe] = handle
    return handle


def check_ready(pipe: Any) -> None:
    """Raise what `enable` raises, whatever the settings: the pipeline has a cache, or none can be put on it."""
    if pipe in handles:
        raise AlreadyEnabledError(
            f"{type(pipe).__name__} has zcache enabled already; call zcache.disable(pipe) first"
        )
    denoisers = find_denoisers(pipe)
    check(getattr(pipe, "scheduler", None))
    refuse_other_caches(pipe, denoisers, sharing=True)


def settings(pipe: Any, config: ZCacheConfig | Profile | None) -> ZCacheConfig:
    """The settings that `enable` takes of its argument.

    Raises:
        ProfileError: the profile was found on another kind of model. ConfigError: it has no such budget.
    """
    if isinstance(config, Profile):
        config.check(type(inner(find_denoisers(pipe)[0])).__name__, prediction(pipe.scheduler))
        return config.config()
    return recommended(pipe) if config is None else config


def disable(pipe: Any) -> None:
    """The exact inverse of `enable`.

    Raises:
        NotEnabledError: the pipeline has no zcache.
    """
    try:
        handle = handles.pop(pipe, None)
    except TypeError:  # of what no weak reference can be made: it is no pipeline
        handle = None
    if handle is None:
        raise NotEnabledError(f"{type(pipe).__name__} has no zcache; call zcache.enable first")
    handle.detach()


@contextmanager
def enabled(pipe: Any, config: ZCacheConfig | Profile | None = None) -> Iterator[ZCache]:
    """`enable` for the length of a with-block, `disable` at its end, also after an exception."""
    handle = enable(pipe, config)
    try:
        yield handle
    finally:
        if handles.get(pipe) is handle:
            disable(pipe)
