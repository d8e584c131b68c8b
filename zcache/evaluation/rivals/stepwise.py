"""What the peers written here share: a cache on a pipeline that plans its steps and answers the
denoiser's calls by them, without reflection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from torch import nn

from ...caching import adapters, intercept, scheduler
from ...caching.bindings import inner
from ...caching.pipeline import find_denoisers, refuse_other_caches
from ...caching.report import Report
from ...errors import UnsupportedPipelineError

Step = TypeVar("Step")  # what a step does
Branch = tuple[int, int]  # which denoiser, and which of its calls in a step
Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class StepCache(ABC, Generic[Step]):
    """A cache while it is on a pipeline. The scheduler's `step` is its only clock; the k-th denoiser call
    since the last `step` is the k-th branch of guidance.

    Attributes:
        steps: what the steps of the last run did, in order (of a run in progress, will do).

    Raises:
        UnsupportedPipelineError: there is no transformer, or the scheduler cannot be followed.
        AlreadyEnabledError: the pipeline has a cache already.
    """

    title = "this cache"  # in messages

    def __init__(self, pipe: Any) -> None:
        self.denoisers = find_denoisers(pipe)
        scheduler.check(pipe.scheduler)
        refuse_other_caches(pipe, self.denoisers)
        self._pipe, self._scheduler = pipe, pipe.scheduler
        self.steps: tuple[Step, ...] = ()
        self._step = self._call = 0

    @abstractmethod
    def plan(self, begin: int, num_steps: int) -> tuple[Step, ...]:
        """What each of `num_steps` steps does; image-to-image leaves the first `begin` out."""

    @abstractmethod
    def compute(self, branch: Branch, step: int, call: Call) -> Any:
        """Answer a denoiser call of a step."""

    @abstractmethod
    def is_full(self, step: Step) -> bool:
        """Whether such a step computes everything."""

    def check(self, num_steps: int) -> None:
        """Refuse, before the denoiser is called, a number of steps that does not fit (of which image-to-image
        may leave the first ones out)."""

    def forget(self) -> None:
        """Let go of what was kept; a run begins or is over."""

    def report(self) -> Report:
        """How many steps of the last run there were, and which were full."""
        full = tuple(index for index, step in enumerate(self.steps) if self.is_full(step))
        return Report(len(self.steps), full, full_passes=len(full))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Stand in front of the scheduler and the denoisers for the length of the block."""
        armed: list[tuple[Any, str]] = []
        try:
            for instance, method, handler in self._handlers():
                intercept.arm(instance, method, handler)
                armed.append((instance, method))
            yield
        finally:
            for instance, method in armed:
                intercept.disarm(instance, method)

    def _handlers(self) -> Iterator[tuple[Any, str, intercept.Handler]]:
        yield self._scheduler, "set_timesteps", self._on_set_timesteps
        yield self._scheduler, "step", self._on_step
        for index, denoiser in enumerate(self.denoisers):
            yield denoiser, "__call__", self._on_call(index)

    def _restart(self) -> None:
        self._step = self._call = 0
        self.forget()

    def _on_set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._restart()
        self.steps = ()
        result = original(*args, **kwargs)
        self.check(len(self._scheduler.timesteps))
        return result

    def _on_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        self._step, self._call = self._step + 1, 0
        if self._step >= len(self.steps):
            self.forget()
        return result

    def _on_call(self, index: int) -> intercept.Handler:
        def handle(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._begin()
            branch = index, self._call
            self._call += 1
            return self.compute(branch, self._step, lambda: original(*args, **kwargs))

        return handle

    def _begin(self) -> None:
        """At the first call the scheduler knows where the run begins: image-to-image in the middle."""
        if self._pipe.scheduler is not self._scheduler:
            raise UnsupportedPipelineError(
                f"the pipeline's scheduler was replaced while {self.title} was on; put it on again after that"
            )
        if not self.steps:
            begin = getattr(self._scheduler, "begin_index", None) or 0
            self.steps = self.plan(begin, len(self._scheduler.timesteps) - begin)


def described(denoiser: nn.Module, title: str) -> adapters.Adapter:
    """Return the description of a denoiser's transformer.

    Raises:
        UnsupportedPipelineError: it has none, or not of its layers.
    """
    transformer = inner(denoiser)
    adapter = adapters.find(transformer)
    if adapter is None or "module" not in adapter.granularities:
        raise UnsupportedPipelineError(
            f"{title} has no layers of {type(transformer).__name__}; describe the class with "
            "zcache.adapters.register, or leave this peer out"
        )
    adapters.check(transformer, adapter)
    return adapter
