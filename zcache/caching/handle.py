"""The cache on one pipeline: what it stands in front of, and which calls belong to a run."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from ..errors import UnsupportedPipelineError
from ..method.config import ZCacheConfig
from . import intercept
from .bindings import Denoiser, Signal, bind
from .pipeline import find_denoisers, other_schedulers, refuse_other_caches
from .report import Log, Report
from .run import Run
from .scheduler import check
from .scope import Scope

logger = logging.getLogger(__name__)

handles: weakref.WeakKeyDictionary[Any, ZCache] = weakref.WeakKeyDictionary()


class ZCache:
    """The cache on one pipeline, as `enable` returns it.

    Attributes:
        config: its settings; to change them, disable and enable again.
        on_pass: called as on_pass(step, kind, num_steps) when a pass begins, kind being `full`,
            `forecast` or `reflect`; for progress displays. An exception raised in it ends the run,
            and the next run is clean.
    """

    def __init__(self, pipe: Any, config: ZCacheConfig, found_with: str = "") -> None:
        self._config = config
        self._found_with = found_with  # the scheduler's class of the profile
        self.on_pass: Callable[[int, str, int], None] | None = None
        self._pipe = weakref.ref(pipe)
        self._scheduler = pipe.scheduler
        self._denoisers = self._bound(pipe)
        self._handler = intercept.weakly(self._on_pipeline)
        self._armed: list[tuple[Any, str, intercept.Handler]] = []
        self._attached = False
        self._at_work = False  # inside a call or a step of the run
        self._early = False  # a denoiser was called before the scheduler was told its steps
        self._scope: Scope | None = None
        self._entering = threading.Lock()
        self._run: Run | None = None
        self._log = Log()

    @property
    def config(self) -> ZCacheConfig:
        return self._config

    def report(self) -> Report:
        """Return what the last run did, or the current one so far. Waits for the device."""
        return self._log.report()

    @property
    def trying(self) -> bool:
        """Whether the scheduler's step that is being taken is only a trial, whose result is not used."""
        return self._run is not None and self._run.trying

    def disable(self) -> None:
        """Take this cache off its pipeline."""
        pipe = self._pipe()
        if pipe is not None and handles.pop(pipe, None) is not None:
            self.detach()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Make what is called inside, in this thread, one run, as inside a call of the pipeline: for loops of your
        own; the pipeline's own call is a run, too. Within such a call, within another thread's and once disabled it
        is inert."""
        with self._entering:
            scope = self._scope
            if scope is None:
                self._scope = Scope()
        if scope is not None:
            with scope.suspended() if scope.is_own_thread else nullcontext():
                yield
            return
        self._run, self._log, self._early = None, Log(), False
        try:
            self._refit()
            yield
        finally:
            self._leave()

    def attach(self) -> None:
        """Stand in front of the pipeline, its scheduler and its denoisers; of none where one does not let it.

        Raises:
            UnsupportedPipelineError: one of them takes no weak reference."""
        intercept.arm(self._pipe(), "__call__", self._handler)
        self._attached = True
        try:
            self._arm_parts()
        except UnsupportedPipelineError:
            self.detach()
            raise

    def detach(self) -> None:
        """Undo `attach` exactly, also in the middle of a run, and let go of all but the report. What the run is
        at, a call of the denoiser or a step with all its reflection, it ends as it began."""
        self._attached = False
        pipe = self._pipe()
        if pipe is not None:
            intercept.disarm(pipe, "__call__", self._handler)
        self._disarm_parts()
        self._scheduler, self._denoisers = None, []
        if self._run is not None:
            self._run.done = True
            if not self._at_work:
                self._run.close()

    def _bound(self, pipe: Any) -> list[Denoiser]:
        config = self.config
        return [
            Denoiser(d, bind(config.granularity, d), Signal(d) if config.adaptive else None)
            for d in find_denoisers(pipe)
        ]

    def _arm(self, instance: Any, method: str, own: Callable[..., Any], *first: Any) -> None:
        handler = intercept.weakly(own, *first)
        intercept.arm(instance, method, handler)
        self._armed.append((instance, method, handler))

    def _arm_parts(self) -> None:
        self._arm(self._scheduler, "set_timesteps", self._on_set_timesteps)
        self._arm(self._scheduler, "step", self._on_step)
        for other in other_schedulers(self._pipe()):
            self._arm(other, "step", self._on_other_step)
        for index, denoiser in enumerate(self._denoisers):
            self._arm(denoiser.module, "__call__", self._on_call, index)

    def _disarm_parts(self) -> None:
        for instance, method, handler in self._armed:
            intercept.disarm(instance, method, handler)
        self._armed = []

    def _refit(self) -> None:
        """Follow the pipeline where its scheduler or a transformer was replaced since `enable`.

        Raises:
            AlreadyEnabledError: another library's cache was enabled on a transformer since."""
        pipe = self._pipe()
        if pipe is None or not self._attached:
            return
        modules = [d.module for d in self._denoisers]
        found = _found(pipe)
        refuse_other_caches(pipe, found, sharing=True)
        if pipe.scheduler is self._scheduler and found == modules:
            return
        self._disarm_parts()
        self._scheduler, self._denoisers = pipe.scheduler, []
        try:
            check(pipe.scheduler)
            self._denoisers = self._bound(pipe)
            self._arm_parts()
        except UnsupportedPipelineError as error:
            self._disarm_parts()
            self._denoisers = []
            self._log.fall_back(
                f"the pipeline was changed after enable, so everything was computed in full: {error}"
            )
            logger.warning("zcache computes everything in full: %s", error)

    def _leave(self) -> None:
        """End the run of a call, however it ended: nothing of it stays but the log."""
        run, self._run, self._scope = self._run, None, None
        if run is not None:
            run.end()
        if not self._log.passes and self._denoisers:
            self._log.fall_back(
                "everything was computed in full: the scheduler's set_timesteps was not called in the run; in a loop "
                "of your own call it inside `sampling()`"
                if self._early
                else "no denoiser call was seen between two steps of the scheduler"
            )

    def _replaced(self) -> int:
        return 0 if self._scope is None else self._scope.replaced

    def _is_current(self) -> bool:
        return self._scope is not None and self._scope.is_current

    def _on_pipeline(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with nullcontext() if self._is_open() else self.sampling():
            scope = self._scope
            if scope is None or not scope.is_current or not self._denoisers:
                return original(*args, **kwargs)
            cls = type(self._scheduler)
            intercept.watch(cls, "step", self._on_copied_step)
            try:
                scope.is_called = True
                with scope.around_callbacks(kwargs) as arguments:
                    return original(*args, **arguments)
            finally:
                scope.is_called = False
                intercept.unwatch(cls, "step", self._on_copied_step)
                if self._run is not None:
                    self._run.end()

    def _is_open(self) -> bool:
        """Whether `sampling()` waits for a run, which a call of the pipeline may be."""
        waits = self._scope is not None and self._scope.waits
        return waits and (self._run is None or self._run.done)

    def _on_set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if self._is_current() and self._denoisers:
            if self._run is not None:
                self._run.end()
            log = Log(self._log if self._log.passes else None)
            own = type(self._scheduler).__name__
            if self._found_with not in ("", own):
                log.fall_back(
                    f"the profile was found with {self._found_with}, and this run takes its steps with {own}: "
                    "what was measured does not hold for it"
                )
            self._run = Run(self.config, self._scheduler, self._announce, self._replaced, log)
            if not self._log.passes:
                self._log = log
        return result

    def _on_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._working() as run:
            if run is None:
                return original(*args, **kwargs)
            if run.kind is None:
                run.cannot_go_back(self._why_no_call())
                return original(*args, **kwargs)
            named = {
                name: kwargs.pop(name)
                for name in ("model_output", "timestep", "sample")
                if name in kwargs
            }
            return run.take_step(original, (*args, *named.values()), kwargs)

    def _why_no_call(self) -> str:
        """Why the scheduler takes a step for which no denoiser of the run was called."""
        pipe = self._pipe()
        if pipe is not None and _found(pipe) != [denoiser.module for denoiser in self._denoisers]:
            return "the pipeline's transformer was replaced in the run, and the new one computes in full"
        return "the pipeline calls the scheduler more than once for each pass"

    def _on_other_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._on_copied_step(None)
        return original(*args, **kwargs)

    def _on_copied_step(self, scheduler: Any) -> None:
        """Note that a scheduler which is not the pipeline's own takes a step: another latent beside
        ours."""
        if self._is_current() and self._run is not None and not self._run.done:
            self._run.cannot_go_back("a second scheduler carries a latent of its own")

    def _on_call(self, index: int, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        denoiser = next(iter(self._denoisers[index : index + 1]), None)
        if denoiser is None:  # disabled in this moment, in another thread
            return original(*args, **kwargs)
        with intercept.lock(denoiser.module, "__call__"), self._working() as run:
            if run is None:
                self._early |= self._run is None and self._is_current()
                return original(*args, **kwargs)
            if self._log is not run.log:
                self._log = run.log
            return run.call(denoiser, original, args, kwargs)

    @contextmanager
    def _working(self) -> Iterator[Run | None]:
        """The run, which is not closed as long as the block lasts; None where what is called is not its own."""
        run = self._run if self._is_current() else None
        if run is None or self._at_work:
            yield None if run is None or run.done else run
            return
        self._at_work = True  # before `done` is looked at, which another thread may set
        try:
            yield None if run.done else run
        finally:
            self._at_work = False
            if run.done:
                run.close()

    def _announce(self, step: int, kind: str, num_steps: int) -> None:
        if self.on_pass is not None and self._scope is not None:
            with self._scope.suspended():
                self.on_pass(step, kind, num_steps)


def _found(pipe: Any) -> list[nn.Module]:
    try:
        return find_denoisers(pipe)
    except UnsupportedPipelineError:
        return []
