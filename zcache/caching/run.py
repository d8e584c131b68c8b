"""One run, from `set_timesteps` to the last `step`. The scheduler's `step` is its only clock.

A step is every denoiser call between two `step` calls; the k-th call since the last `step` is the
k-th branch of guidance, whatever the pipeline calls it. Cached steps are remembered until the next
anchor closes their window; then `reflection` goes back over them, inside that anchor's `step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..method.schedule import Kind, Pass
from ..method.teacache import COEFFICIENTS, IDENTITY, Accumulator
from . import reflection
from .anchors import Anchors
from .arguments import copied
from .bindings import Binding, Denoiser, Signal
from .features import leaves, tensors
from .scheduler import noise_levels, position, previous_sample, snapshot
from .stand_ins import Memo
from .state import Branch, Key, Original, RunState, Visit


class Run(RunState):
    """The decisions of one run: full or cached, when a window closes, when all is over."""

    def call(
        self, denoiser: Denoiser, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One denoiser call: cached where anchors allow it, else in full."""
        arguments = (copied(args), copied(kwargs))
        if not self.branches:
            self._begin_step(denoiser, original, arguments)
        key = (id(denoiser.module), len(self.branches))
        anchors = self.anchors.get(key)
        cached = self.kind is Kind.FORECAST and anchors is not None and anchors.newest == self.start
        device = next((tensor.device for tensor in tensors((args, kwargs))), torch.device("cpu"))
        memo: Memo = {}

        def run_original() -> Any:
            return original(*args, **kwargs)

        with self.log.stopwatch.measure((Kind.FORECAST if cached else Kind.FULL).word, device):
            if cached:
                feature = anchors.forecast(self.step)
                output = denoiser.binding.cached(run_original, feature, anchors.output, memo)
            else:
                output = self._compute(key, denoiser.binding, run_original, memo)
        self.branches.append(
            Branch(key, denoiser, original, arguments, list(leaves(output)), cached, memo)
        )
        return output

    def _compute(
        self, key: Key, binding: Binding, run_original: Callable[[], Any], memo: Memo
    ) -> Any:
        output, feature = binding.full(run_original, memo)
        self.log.full_computations += 1
        if self.kind is Kind.FORECAST:
            self.log.fall_back(
                "a denoiser call without anchors was computed in full at a cached step"
            )
        elif feature is None:
            self.anchors.pop(key, None)
            self.log.fall_back("a full step gave no feature to cache (its blocks were skipped)")
        else:
            if key not in self.anchors:
                self.anchors[key] = Anchors(self.base, self.config.order, self.gate)
            self.anchors[key].add(self.step, feature, output)
        return output

    def _begin_step(self, denoiser: Denoiser, original: Original, arguments: Any) -> None:
        self.kind = self._decide(denoiser.signal, original, arguments)
        self.announce(Pass(self.step, self.kind), self._num_steps())

    def _num_steps(self) -> int:
        """Steps of the run; before the first step is taken, what the scheduler has been told."""
        if self.plan is not None:
            return self.plan.num_steps
        begin = getattr(self.scheduler, "begin_index", None) or 0
        return len(self.scheduler.timesteps) - begin

    def _decide(self, signal: Signal | None, original: Original, arguments: Any) -> Kind:
        if self.config.adaptive and signal is not None:
            return self._decide_adaptively(signal, original, arguments)
        if self.plan is None or self.step in self.plan.full_steps:
            return Kind.FULL
        return Kind.FORECAST

    def _decide_adaptively(self, signal: Signal, original: Original, arguments: Any) -> Kind:
        """TeaCache: relative change of the signal from step to step, rescaled and added up."""
        args, kwargs = arguments
        now = signal(lambda: original(*copied(args), **copied(kwargs)), kwargs)
        before, self.last_signal = self.last_signal, now
        if self.accumulator is None:
            coefficients = COEFFICIENTS.get(signal.model, IDENTITY)
            if coefficients is IDENTITY:
                self.log.fall_back(
                    f"no TeaCache coefficients are published for {signal.model}; identity is used"
                )
            self.accumulator = Accumulator(
                coefficients, self.config.threshold, self.config.interval
            )
        if self.plan is None or before is None or before.shape != now.shape:
            self.accumulator.restart()
            return Kind.FULL
        full = self.accumulator.is_full(float((now - before).abs().mean() / before.abs().mean()))
        if self.config.last_full and self.step == self.plan.num_steps - 1:
            return Kind.FULL
        return Kind.FULL if full else Kind.FORECAST

    def take_step(self, step: Original, visit_args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The scheduler's `step`, at the end of every step of the run."""
        model_output, timestep, sample, *args = visit_args
        visit = Visit(self.step, model_output, timestep, sample, tuple(args), kwargs, self.branches)
        take = self._take_cached if self.kind is Kind.FORECAST else self._take_full
        result = take(step, visit)
        if self.plan is None:
            self._make_plan(timestep)
        self._tick()
        return result

    def _take_cached(self, step: Original, visit: Visit) -> Any:
        if not self.window:
            self.scheduler_state = snapshot(self.scheduler)
        result = step(visit.model_output, visit.timestep, visit.sample, *visit.args, **visit.kwargs)
        visit.returned = previous_sample(result)
        self.window.append(visit)
        return result

    def _take_full(self, step: Original, visit: Visit) -> Any:
        for key in [key for key, anchors in self.anchors.items() if anchors.newest != self.step]:
            del self.anchors[key]
        self.log.hold(self.held())
        if not self.window:
            result = step(
                visit.model_output, visit.timestep, visit.sample, *visit.args, **visit.kwargs
            )
        else:
            wanted = self.config.reflection.applies(
                self.step, self.windows_closed, self.plan.num_steps
            )
            self.windows_closed += 1
            with self.log.stopwatch.measure(Kind.REFLECT.word, visit.sample.device):
                result = reflection.reflect(self, step, visit) if wanted else None
            if result is None:
                result = step(
                    visit.model_output, visit.timestep, visit.sample, *visit.args, **visit.kwargs
                )
        self.window = []
        self.start = self.step
        return result

    def _make_plan(self, timestep: Any) -> None:
        """After one step the scheduler knows where it began: image-to-image in the middle."""
        begin = position(self.scheduler, timestep)
        num_steps = len(self.scheduler.timesteps) - begin
        config = self.config
        if begin:
            config = config.replace(interval=min(config.interval, num_steps))
        self.plan = config.plan(num_steps)
        self.log.num_steps = num_steps
        lead = next(
            (i for i, step in enumerate(self.plan.full_steps) if i != step),
            len(self.plan.full_steps),
        )
        self.gate = max(0, lead - 2)
        levels = noise_levels(self.scheduler)
        self.levels = levels[begin:] if levels is not None else None
        if self.config.relax == "sigma" and self.levels is None:
            self.log.fall_back(
                f"{type(self.scheduler).__name__} has no noise levels, so reflection is not relaxed"
            )

    def _tick(self) -> None:
        self.branches = []
        self.kind = None
        self.step += 1
        if self.plan is not None and self.step >= self.plan.num_steps:
            self.close()
            self.log.finished = True
