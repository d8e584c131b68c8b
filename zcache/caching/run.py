"""One run, from `set_timesteps` to the last `step`. The scheduler's `step` is its only clock.

A step is every denoiser call between two `step` calls; the k-th call since the last `step` is the
k-th branch of guidance, whatever the pipeline calls it. Cached steps are remembered until the next
anchor closes their window; then `reflection` goes back over them, inside that anchor's `step`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..method.config import AUTOMATIC
from ..method.schedule import Kind, Pass
from ..method.weights import weight_at
from . import adaptive, affine, guidance, guided, noise, reflection, self_check, settling
from .anchors import Anchors
from .arguments import copied, factors, flattened, locate, put, signature
from .bindings import Denoiser, Signal
from .cached_pass import CachedPass
from .edits import MIXED
from .features import leaves, version
from .scheduler import noise_levels, position, previous_sample, snapshot
from .stand_ins import Memo
from .state import Branch, Key, Original, RunState, Signature, Visit
from .times import flow_times, steps_of

MOST_CALLS = 16  # of the denoiser in one step


class Run(RunState):
    """The decisions of one run: full or cached, when a window closes, when all is over."""

    def call(
        self, denoiser: Denoiser, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One denoiser call: cached where anchors allow it, else in full."""
        if len(self.branches) >= MOST_CALLS:
            self.log.fall_back(
                f"from step {self.step} on everything was computed in full: no step of the pipeline's scheduler came "
                f"within {MOST_CALLS} denoiser calls, the most that are followed; it takes its steps elsewhere, or "
                f"the pipeline makes more calls for a step: let it make {MOST_CALLS} or fewer"
            )
            self.close()
            return original(*args, **kwargs)
        denoiser = self.outputs.get(id(denoiser.module), denoiser)
        flat = flattened((args, kwargs))
        key = (id(denoiser.module), len(self.branches))
        given = (self.replaced(), self._conditioned(key, flat), *signature(flat))
        fits = key in self.anchors and self.signatures[key] == given
        if not self.branches:
            if self.step == 0 and (
                self.config.reflect
                or self.config.granularity == AUTOMATIC
                or self.config.forecasts is not None
            ):
                self.embedded_scale = guidance.told(kwargs)
            self._begin_step(denoiser.signal, original, (args, kwargs), fits)
        cached = self.kind is Kind.FORECAST and fits
        device = next((x.device for x in flat if isinstance(x, Tensor)), torch.device("cpu"))
        # Kept for the window, with the latents in them, only where a pass looks at them again.
        arguments: Any = ((), {})
        kept: list[Any] = []
        if not denoiser.binding.ignores_arguments:
            arguments, kept = (copied(args), copied(kwargs)), flat
        memo: Memo = {}
        given_first = iter([(args, kwargs)])  # a model may take things out of a list it is given

        def run_original() -> Any:
            first, named = next(given_first, None) or copied(arguments)
            return original(*first, **named)

        with self.log.stopwatch.measure((Kind.FORECAST if cached else Kind.FULL).word, device):
            if cached:
                anchors = self.anchors[key]
                feature = anchors.forecast(self.step)
                places = self.places.get(key, ())
                output = self.passes[key].forecast(
                    run_original, arguments, flat, places, feature, anchors.output, memo
                )
            else:
                output = self._compute(key, denoiser, run_original, memo, flat, given)
        found = list(leaves(output))
        self.branches.append(Branch(key, denoiser, original, arguments, kept, found, cached, memo))
        return output

    def _compute(
        self,
        key: Key,
        denoiser: Denoiser,
        run_original: Callable[[], Any],
        memo: Memo,
        flat: list[Any],
        given: Signature,
    ) -> Any:
        if self.kind is Kind.FULL and key in self.anchors:
            self.anchors[key].make_room(self._looks_back())
        caches = self.caches and not self.in_full  # else untouched: compiled, the same graph
        full = denoiser.binding.full if caches else lambda call, _: (call(), None)
        output, feature = full(run_original, memo)
        self.log.full_computations += 1
        if self.kind is Kind.FORECAST:
            self.log.fall_back("a denoiser call that began inside a window was computed in full")
        if not caches:
            return output
        if feature is None:
            self._give_up("a full step gave no feature to cache (its blocks were skipped)")
            return output
        if self.signatures.get(key) != given:
            self.anchors.pop(key, None)
            self.places.pop(key, None)
            self.signatures[key] = given
            fault = self_check.fault(denoiser, run_original, flat, feature, output, memo)
            if fault:
                self._give_up(fault)
                return output
        if key not in self.anchors:
            self.anchors[key] = Anchors(self.base, self.config.order)
            self.passes[key] = CachedPass(denoiser)
        self.passes[key].see(flat)
        self.anchors[key].add(self.step, feature, output)
        return output

    def _looks_back(self) -> bool:
        """Whether a blend of the open window may take forecasts that know nothing of this full step."""
        closes = self.config.reflection.applies(self.step, self.windows_closed, self.num_steps)
        if not self.window or not closes or self.never_back:
            return False
        between = range(self.start + 1, self.step)
        return guided.may_be_linear(self) or any(
            weight_at(self.weight, step, self.start, self.step) != 1.0 for step in between
        )

    def _give_up(self, reason: str) -> None:
        """Compute the rest of the run in full."""
        self.in_full, self.anchors = True, {}
        self.log.fall_back(f"everything was computed in full: {reason}")

    def _begin_step(
        self, signal: Signal | None, original: Original, arguments: Any, fits: bool
    ) -> None:
        self.kind = self._decide(signal, original, arguments)
        if self.kind is Kind.FORECAST and not fits:
            self.kind = Kind.FULL
            if self.accumulator is not None:
                self.accumulator.restart()
            self.log.fall_back(
                f"step {self.step} was computed in full: batch, shape, mode, prompt or transformer changed there"
            )
        self.announce(Pass(self.step, self.kind), self.num_steps)

    def _decide(self, signal: Signal | None, original: Original, arguments: Any) -> Kind:
        if self.in_full or not self.caches:
            return Kind.FULL
        if self.config.adaptive and signal is not None:
            return adaptive.decide(self, signal, original, arguments)
        full = self.plan is None or self.step in self.plan.full_steps
        return Kind.FULL if full else Kind.FORECAST

    def _conditioned(self, key: Key, flat: list[Any]) -> int:
        """How often the conditioning of a branch has changed; what was mistaken for it before is told."""
        changes = self.conditioning.see(key, flat)
        if any(b.from_cache and b.key in self.conditioning.mistaken for b in self.branches):
            self.log.fall_back(
                f"step {self.step} was answered with the features of another prompt: the denoiser was called with "
                "another prompt first than at the step before, which only its next call showed; call it in the "
                "same order at every step"
            )
        return changes

    def take_step(self, step: Original, visit_args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The scheduler's `step`, at the end of every step of the run."""
        model_output, timestep, sample, *args = visit_args
        visit = Visit(self.step, model_output, timestep, sample, tuple(args), kwargs, self.branches)
        if self.plan is None and not sample.is_floating_point() and self.caches:
            self._give_up("the latent is made of tokens, which no forecast leads to")
        if self.config.reflect and self.caches and not self.never_back:
            self._remember(visit)
        take = self._take_cached if self.kind is Kind.FORECAST else self._take_full
        result = take(step, visit)
        if self.plan is None:
            settling.check_guidance(self, visit)
            settling.settle(self, visit)
            self._make_plan(timestep)
            settling.place(self, visit)
        self._tick()
        return result

    def _remember(self, visit: Visit) -> None:
        """Find the latent in the calls' arguments, and keep what may be written over."""
        for branch in visit.branches:
            if branch.denoiser.binding.ignores_arguments:
                continue
            if branch.key not in self.places:
                self.places[branch.key] = locate(branch.arguments, visit.sample)
        visit.sample = self._copy(visit.sample)
        for branch in visit.branches:
            if places := self.places.get(branch.key):
                branch.memo.update(factors(branch.arguments, places, visit.sample))
                branch.arguments = put(branch.arguments, places, visit.sample, branch.memo)
                branch.flat = flattened(branch.arguments)
        visit.versions = visit.then()

    def _copy(self, latent: Tensor) -> Tensor:
        """A copy of the latent; that of the last step where nobody has touched it since."""
        if self.last_latent is None:
            return latent.clone()
        returned, seen, before = self.last_latent
        if latent is returned and seen is not None and version(latent) == seen:
            return before
        copy = latent.clone()
        levels = self.levels if self.is_flow else None
        if levels and self.edits.see(levels[self.step], before, copy):
            self.log.fall_back(MIXED)
        return copy

    def _step(self, step: Original, visit: Visit) -> Any:
        """The scheduler's own step, watched: what it drew, and a copy of what it returned."""
        remembers = self.config.reflect and not self.never_back
        before = None
        if remembers and self.kind is Kind.FORECAST and not self.steps_are_closed:
            before = noise.states(visit.generators(self.scheduler))
        result = step(visit.model_output, visit.timestep, visit.sample, *visit.args, **visit.kwargs)
        if remembers:
            if before is not None and noise.moved(before):
                visit.noise = before
            returned = previous_sample(result)
            visit.returned = returned.clone()
            self.last_latent = (returned, version(returned), visit.returned)
        return result

    def _take_cached(self, step: Original, visit: Visit) -> Any:
        if not self.window:
            self.scheduler_state = snapshot(self.scheduler)
        result = self._step(step, visit)
        if self.config.reflect and not self.never_back:
            self.window.append(visit)
        return result

    def _take_full(self, step: Original, visit: Visit) -> Any:
        for key in [key for key, anchors in self.anchors.items() if anchors.newest != self.step]:
            del self.anchors[key]
        self.log.hold(self.held(), self.held_for_again())
        result = None
        if self.window:
            wanted = self.config.reflection.applies(self.step, self.windows_closed, self.num_steps)
            self.windows_closed += 1
            if wanted and not self.never_back:
                with self.log.stopwatch.measure(Kind.REFLECT.word, visit.sample.device):
                    result = reflection.reflect(self, partial(self._step_again, step), visit)
        if result is None:
            result = self._step(step, visit)
        for anchors in self.anchors.values():
            anchors.close_window()
        self.window = []
        self.start = self.step
        return result

    def _step_again(
        self, step: Original, visit: Visit, model_output: Tensor, sample: Tensor
    ) -> Any:
        """A visit's step with another model output, at another latent, with the noise it drew."""
        with noise.drawn_again(visit.noise):
            result = step(model_output, visit.timestep, sample, *visit.args, **visit.kwargs)
        if visit.step == self.step:
            returned = previous_sample(result)
            self.last_latent = (returned, version(returned), returned.clone())
        return result

    def _make_plan(self, timestep: Any) -> None:
        """After one step the scheduler knows where it began: image-to-image in the middle."""
        begin = position(self.scheduler, timestep)
        num_steps = steps_of(self.scheduler) - begin
        self.plan = self._fit(num_steps)
        self.log.num_steps = num_steps
        levels = (flow_times if self.config.relax == "time" else noise_levels)(self.scheduler)
        self.levels = levels[begin:] if levels is not None else None
        if self.config.reflect and self.caches:
            self.affine = affine.find(self.scheduler, begin)
        if isinstance(self.config.relax, str) and self.levels is None:
            self.log.fall_back(
                f"{type(self.scheduler).__name__} has no noise levels, so reflection is not relaxed"
            )

    def _tick(self) -> None:
        self.branches = []
        self.conditioning.end_step()
        self.kind = None
        self.step += 1
        if self.plan is not None and self.step >= self.plan.num_steps:
            self.close()
            self.log.finished = True
