"""enable, disable, enabled: put one cache on one diffusers pipeline, and take it off again without
a trace."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..errors import AlreadyEnabledError, NotEnabledError, UnsupportedPipelineError
from ..method.config import ZCacheConfig
from ..method.recommended import recommended
from . import intercept, scheduler
from .bindings import Denoiser, Signal, bind, inner
from .report import Log, Report
from .run import Run

logger = logging.getLogger(__name__)

DENOISERS = ("transformer", "transformer_2")

_handles: weakref.WeakKeyDictionary[Any, ZCache] = weakref.WeakKeyDictionary()


class ZCache:
    """The cache on one pipeline, as `enable` returns it.

    Attributes:
        config: its settings.
        on_pass: called as on_pass(step, kind, num_steps) when a pass begins, kind being `full`,
            `forecast` or `reflect`; for progress displays. An exception raised in it ends the run,
            and the next run is clean.
    """

    def __init__(self, pipe: Any, config: ZCacheConfig) -> None:
        self.config = config
        self.on_pass: Callable[[int, str, int], None] | None = None
        self._scheduler = pipe.scheduler
        self._replaced_by: Any = None
        self._pipe = weakref.ref(pipe)
        self._run: Run | None = None
        self._log = Log()
        self._denoisers = [
            Denoiser(d, bind(config.granularity, d), Signal(d) if config.adaptive else None)
            for d in find_denoisers(pipe)
        ]

    def report(self) -> Report:
        """What the last run did (or the current one so far). Waits for the device."""
        return self._log.report()

    def disable(self) -> None:
        """Take this cache off its pipeline."""
        pipe = self._pipe()
        if pipe is not None:
            disable(pipe)

    def _attach(self) -> None:
        intercept.arm(self._scheduler, "set_timesteps", _weakly(self._on_set_timesteps))
        intercept.arm(self._scheduler, "step", _weakly(self._on_step))
        for index, denoiser in enumerate(self._denoisers):
            intercept.arm(denoiser.module, "__call__", _weakly(self._on_call, index))

    def _detach(self) -> None:
        intercept.disarm(self._scheduler, "set_timesteps")
        intercept.disarm(self._scheduler, "step")
        for denoiser in self._denoisers:
            intercept.disarm(denoiser.module, "__call__")
        if self._run is not None:
            self._run.close()

    def _on_set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._run is not None:
            self._run.close()
            self._run = None
        result = original(*args, **kwargs)
        run = Run(self.config, self._scheduler, self._announce)
        self._run, self._log, self._replaced_by = run, run.log, None
        return result

    def _on_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        run = self._run
        if run is None or run.done or run.kind is None:
            return original(*args, **kwargs)
        named = {
            name: kwargs.pop(name)
            for name in ("model_output", "timestep", "sample")
            if name in kwargs
        }
        return run.take_step(original, (*args, *named.values()), kwargs)

    def _on_call(self, index: int, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        run = self._run
        if self._scheduler_was_replaced() or run is None or run.done:
            return original(*args, **kwargs)
        return run.call(self._denoisers[index], original, args, kwargs)

    def _announce(self, step: int, kind: str, num_steps: int) -> None:
        if self.on_pass is not None:
            self.on_pass(step, kind, num_steps)

    def _scheduler_was_replaced(self) -> bool:
        pipe = self._pipe()
        if pipe is None or pipe.scheduler is self._scheduler:
            return False
        if self._replaced_by is not pipe.scheduler:
            if self._run is not None:
                self._run.close()
            self._run, self._log, self._replaced_by = None, Log(), pipe.scheduler
            reason = (
                "the pipeline's scheduler was replaced after enable, so everything was computed in full; "
                "call zcache.disable and zcache.enable again"
            )
            self._log.fall_back(reason)
            logger.warning(reason)
        return True


def enable(pipe: Any, config: ZCacheConfig | None = None) -> ZCache:
    """Put a cache on a diffusers pipeline. Its loop, callbacks and progress bar stay as they are.

    Args:
        pipe: a diffusers pipeline with a `transformer` and a `scheduler`.
        config: settings; None takes those of `zcache.recommended`.

    Returns:
        A handle, with `report()` and `disable()`.

    Raises:
        AlreadyEnabledError: the pipeline, or one it shares models or scheduler with, has a cache
        already. UnsupportedPipelineError: no denoiser that we know, or a scheduler that cannot be
        followed.
    """
    if config is not None and not isinstance(config, ZCacheConfig):
        raise UnsupportedPipelineError(f"config is {type(config).__name__}; give a ZCacheConfig")
    _refuse_second_cache(pipe)
    handle = _make(pipe, config)
    handle._attach()
    _handles[pipe] = handle
    return handle


def disable(pipe: Any) -> None:
    """The exact inverse of `enable`.

    Raises:
        NotEnabledError: the pipeline has no zcache.
    """
    handle = _handles.pop(pipe, None)
    if handle is None:
        raise NotEnabledError(f"{type(pipe).__name__} has no zcache; call zcache.enable first")
    handle._detach()


@contextmanager
def enabled(pipe: Any, config: ZCacheConfig | None = None) -> Iterator[ZCache]:
    """`enable` for the length of a with-block, `disable` at its end, also after an exception."""
    handle = enable(pipe, config)
    try:
        yield handle
    finally:
        if _handles.get(pipe) is handle:
            disable(pipe)


def find_denoisers(pipe: Any) -> list[nn.Module]:
    """The pipeline's transformers.

    Raises:
        UnsupportedPipelineError: it has none.
    """
    found = [getattr(pipe, name, None) for name in DENOISERS]
    denoisers = [module for module in found if isinstance(module, nn.Module)]
    if not denoisers:
        raise UnsupportedPipelineError(
            f"{type(pipe).__name__} has no transformer to cache (looked for {', '.join(DENOISERS)}); "
            "give a diffusers pipeline of a diffusion transformer, for example FluxPipeline"
        )
    return denoisers


def _weakly(method: Callable[..., Any], *first: Any) -> intercept.Handler:
    """A handler that does not keep its owner alive: a pipeline that is dropped takes its cache
    along."""
    reference = weakref.WeakMethod(method)

    def handle(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        alive = reference()
        if alive is None:
            return original(*args, **kwargs)
        return alive(*first, original, *args, **kwargs)

    return handle


def refuse_other_caches(pipe: Any, denoisers: list[nn.Module]) -> None:
    """Raise AlreadyEnabledError if a denoiser or the scheduler has a cache, ours or another's."""
    for denoiser in denoisers:
        if intercept.is_armed(denoiser, "__call__") or intercept.is_armed(pipe.scheduler, "step"):
            raise AlreadyEnabledError(
                "another pipeline shares this transformer or scheduler and has zcache enabled, which works for "
                "both; disable it there first to use other settings"
            )
        transformer = inner(denoiser)
        if getattr(transformer, "is_cache_enabled", False):
            raise AlreadyEnabledError(
                f"{type(transformer).__name__} has a diffusers cache enabled; call transformer.disable_cache() first"
            )
        if getattr(transformer, "_is_cached", False) or getattr(pipe, "_is_cached", False):
            raise AlreadyEnabledError(
                f"{type(pipe).__name__} has cache-dit enabled; call cache_dit.disable_cache(pipe) first"
            )


def _make(pipe: Any, config: ZCacheConfig | None) -> ZCache:
    denoisers = find_denoisers(pipe)
    scheduler.check(getattr(pipe, "scheduler", None), config is None or config.reflect)
    refuse_other_caches(pipe, denoisers)
    return ZCache(pipe, recommended(pipe) if config is None else config)


def _refuse_second_cache(pipe: Any) -> None:
    if pipe in _handles:
        raise AlreadyEnabledError(
            f"{type(pipe).__name__} has zcache enabled already; call zcache.disable(pipe) first"
        )
