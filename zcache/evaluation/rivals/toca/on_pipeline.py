"""ToCa and DuCa on a pipeline: context managers that take their cache off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from ....caching import adapters, intercept, scheduler
from ....caching.bindings import inner
from ....caching.pipeline import find_denoisers, refuse_other_caches
from ....caching.report import Report
from ....errors import UnsupportedPipelineError
from . import rules
from .layers import Tokens
from .rules import Kind, Settings


@contextmanager
def toca(
    pipe: Any,
    interval: int,
    ratio: float | None = None,
    warmup: int | None = None,
    coded: bool = False,
) -> Iterator[TokenCache]:
    """ToCa, token-wise feature caching (arXiv:2410.05317), without reflection; the settings are those
    of `rules.Settings`.

    Raises:
        ConfigError: a setting is outside its limits; during a run, an interval above its steps.
        UnsupportedPipelineError: there are no rules for this transformer, or its scheduler cannot
            be followed.
        AlreadyEnabledError: the pipeline has a cache already.
    """
    with _on(pipe, Settings(interval, ratio, warmup, coded)) as cache:
        yield cache


@contextmanager
def duca(
    pipe: Any,
    interval: int,
    ratio: float | None = None,
    warmup: int | None = None,
    coded: bool = False,
) -> Iterator[TokenCache]:
    """DuCa, dual feature caching (arXiv:2412.18911): ToCa whose cached steps alternate with steps that
    run no block; raises as `toca`."""
    with _on(pipe, Settings(interval, ratio, warmup, coded, dual=True)) as cache:
        yield cache


@contextmanager
def _on(pipe: Any, settings: Settings) -> Iterator[TokenCache]:
    cache = TokenCache(pipe, settings)
    armed: list[tuple[Any, str]] = []
    try:
        for instance, method, handler in cache.handlers():
            intercept.arm(instance, method, handler)
            armed.append((instance, method))
        yield cache
    finally:
        for instance, method in armed:
            intercept.disarm(instance, method)


class TokenCache:
    """The cache while it is on a pipeline. The scheduler's `step` is its only clock; the k-th denoiser
    call since the last `step` is the k-th branch of guidance and has a store of its own.

    Attributes:
        kinds: what the steps of the last run did, in order (of a run in progress, will do).
    """

    def __init__(self, pipe: Any, settings: Settings) -> None:
        denoisers = find_denoisers(pipe)
        scheduler.check(pipe.scheduler)
        refuse_other_caches(pipe, denoisers)
        self._pipe, self._scheduler, self._settings = pipe, pipe.scheduler, settings
        self._known = [(denoiser, *_described(inner(denoiser))) for denoiser in denoisers]
        self.kinds: tuple[Kind, ...] = ()
        self._forget()

    def report(self) -> Report:
        """How many steps of the last run there were, and which were full."""
        full = tuple(step for step, kind in enumerate(self.kinds) if kind is Kind.FULL)
        return Report(len(self.kinds), full, full_passes=len(full))

    def handlers(self) -> Iterator[tuple[Any, str, intercept.Handler]]:
        """What is to be intercepted: instance, method, handler."""
        yield self._scheduler, "set_timesteps", self._on_set_timesteps
        yield self._scheduler, "step", self._on_step
        for index, (denoiser, *_) in enumerate(self._known):
            yield denoiser, "__call__", self._on_call(index)

    def _forget(self) -> None:
        self._step = self._call = 0
        self._stores: dict[tuple[int, int], Tokens] = {}

    def _on_set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._forget()
        self.kinds = ()
        result = original(*args, **kwargs)
        self._plan(0)  # an interval above the steps is refused before the denoiser is called
        return result

    def _plan(self, begin: int) -> tuple[Kind, ...]:
        num_steps = len(self._scheduler.timesteps) - begin
        settings = self._settings
        if begin:  # image-to-image asks for steps of which it takes the last
            settings = replace(settings, interval=min(settings.interval, num_steps))
        return rules.plan(settings, self._known[0][2], num_steps)

    def _on_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        self._step, self._call = self._step + 1, 0
        if self._step >= len(self.kinds):
            self._stores = {}
        return result

    def _on_call(self, index: int) -> intercept.Handler:
        denoiser, adapter, numbers = self._known[index]

        def handle(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            def call() -> Any:
                return original(*args, **kwargs)

            kind, key = self._begin(), (index, self._call)
            self._call += 1
            if kind is Kind.FULL or key not in self._stores:
                self._stores[key] = Tokens(inner(denoiser), adapter, numbers, self._settings)
                return self._stores[key].full(call)
            if kind is Kind.SKIP:
                return self._stores[key].skip(call)
            return self._stores[key].tokens(call, self._step, len(self.kinds))

        return handle

    def _begin(self) -> Kind:
        """The kind of the present step. At the first the scheduler knows where the run begins:
        image-to-image in the middle. A full step lets go of all stores before it."""
        if self._pipe.scheduler is not self._scheduler:
            raise UnsupportedPipelineError(
                "the pipeline's scheduler was replaced while ToCa or DuCa was on; put it on again after that"
            )
        if not self.kinds:
            self.kinds = self._plan(getattr(self._scheduler, "begin_index", None) or 0)
        kind = self.kinds[self._step] if self._step < len(self.kinds) else Kind.FULL
        if kind is Kind.FULL and self._call == 0:
            self._stores = {}
        return kind


def _described(transformer: nn.Module) -> tuple[adapters.Adapter, rules.Rules]:
    numbers = rules.find(type(transformer).__name__)
    adapter = adapters.find(transformer)
    if adapter is None:
        raise UnsupportedPipelineError(
            f"ToCa and DuCa have no layers of {type(transformer).__name__}; describe the class with "
            "zcache.adapters.register"
        )
    adapters.check(transformer, adapter)
    return adapter, numbers
