"""Reflection: go back over a window once its newer anchor is known (Sec. 3.2, 3.3; Fig. 3).

Every cached step of the window is taken again from the latent saved at its beginning, with features
blended from the older and the newer anchor; then the anchor's own step, with the features computed
there, on the corrected latent. Nothing is computed in full. Relaxed reflection (ours) shortens the
correction at the anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..method.granularity import is_mild
from ..method.schedule import Kind, Pass
from ..method.weights import weight_at
from . import affine, edits, guidance, guided, intercept, noise, nonlinear, scheduler
from .arguments import copied, is_controlled, put
from .features import leaves
from .guidance import Combination
from .guided import CannotReflectError
from .state import Branch, Guidance, RunState, Visit

StepAgain = Callable[[Visit, Tensor, Tensor], Any]  # visit, model output, latent
SAME = 1e-4  # relative distance at which two steps are called alike


def reflect(run: RunState, step: StepAgain, stop: Visit) -> Any | None:
    """Replay the open window and take the step at `stop`; None if the window must stay.

    Args:
        step: takes a visit's step again, with another model output at another latent.
        stop: the newer anchor's step, not taken yet.
    """
    visits = [*run.window, stop]
    try:
        check_window(run, visits)
        combinations = combine(run, visits)
        if run.outputs and not is_mild(guidance.known_scale(combinations[-1])):
            raise CannotReflectError(
                "guidance grew after the first step, by which the output is cached"
            )
        guided.check_strength(run, stop, combinations)
        check_steps_repeat(run, step)
        if guided.is_flow(run, combinations):
            guided.forecast(run, stop, guidance.scale(combinations[-1]))
    except CannotReflectError as reason:
        guided.stay(run)
        if not run.never_back:
            run.log.fall_back(f"a window was not reflected: {reason}")
        return None
    weight = guided.weight(run, combinations)
    remembered = None  # by the scheduler, as the window was forecast
    if not run.steps_are_closed:
        remembered = scheduler.snapshot(run.scheduler)
        scheduler.restore(run.scheduler, run.scheduler_state)
    sample = visits[0].sample
    for visit, following, combination in zip(visits, visits[1:], combinations, strict=False):
        w = weight_at(weight, visit.step, run.start, stop.step)
        run.announce(Pass(visit.step, Kind.REFLECT, w), run.num_steps)
        model_output = evaluate(run, visit, sample, w, combination)
        sample = advanced(run, step, visit, model_output, sample)
        if following.sample is not visit.returned:
            sample = edits.repeated(sample, visit.after(), following.sample)
    sample = relaxed(run, sample, stop, combinations, remembered)
    run.announce(Pass(stop.step, Kind.REFLECT, 1.0), run.num_steps)
    return step(stop, evaluate(run, stop, sample, 1.0, combinations[-1]), sample)


def check_window(run: RunState, visits: Sequence[Visit]) -> None:
    """Raise CannotReflectError unless every step of the window can be evaluated at another latent."""
    stop = visits[-1]
    for branch in stop.branches:
        if branch.key in run.passes:
            with branch.modes.entered():
                run.passes[branch.key].check()
    for visit in visits:
        for branch in visit.branches:
            anchors = run.anchors.get(branch.key)
            if anchors is None or anchors.newest != stop.step or run.start not in anchors.steps:
                raise CannotReflectError("a denoiser call has no anchor at both of its ends")
            if visit is not stop and not branch.from_cache:
                raise CannotReflectError("a denoiser call was computed in full inside it")
            if not branch.denoiser.binding.ignores_arguments and not run.places.get(branch.key):
                raise CannotReflectError("the latent was not found in the denoiser's arguments")
            if branch.denoiser.binding.walks_blocks and is_controlled(branch.arguments):
                raise CannotReflectError(
                    "what a control net made of the latent would have to be made anew"
                )
        if visit.versions != visit.now():
            raise CannotReflectError("the pipeline writes into what the denoiser is given or gave")
    for visit, following in pairwise(visits):
        if visit.after().shape != following.sample.shape:
            raise CannotReflectError("the pipeline changed the latent's shape between two steps")


def advanced(
    run: RunState, step: StepAgain, visit: Visit, model_output: Tensor, sample: Tensor
) -> Tensor:
    """The latent after a visit's step, taken again."""
    if run.affine is not None:
        return run.affine.advance(visit.step, model_output, sample)
    return scheduler.previous_sample(step(visit, model_output, sample)).to(visit.sample.dtype)


def check_closed_form(run: RunState, visits: Sequence[Visit]) -> None:
    """Forget the scheduler's closed form unless it gives every step of the window; waits for the device in
    the first window of a run, later windows are looked at for arguments and tables only."""
    form = run.affine
    if form is None:
        return
    plain = form.is_of(run.scheduler) and all(
        visit.noise is None and affine.is_plain(visit.args, visit.kwargs) for visit in visits
    )
    if plain and not run.step_repeats:
        missed = [
            affine.beyond_rounding(form.advance(v.step, v.model_output, v.sample), v.after())
            for v in visits
        ]
        run.step_repeats = plain = not bool(torch.stack(missed).any())
    if not plain:
        run.affine, run.step_repeats = None, False


def check_steps_repeat(run: RunState, step: StepAgain) -> None:
    """Raise CannotReflectError unless a step that is taken again gives what it gave; once per run."""
    check_closed_form(run, run.window)
    if run.step_repeats:
        return
    visit, now = run.window[0], scheduler.snapshot(run.scheduler)
    scheduler.restore(run.scheduler, run.scheduler_state)
    run.trying = True
    drawn = noise.states(visit.generators(run.scheduler))
    try:
        again = scheduler.previous_sample(step(visit, visit.model_output, visit.sample))
    finally:
        noise.put_back(drawn)
        run.trying = False
        scheduler.restore(run.scheduler, now)
    wanted = visit.after().double()
    if not bool((again.double() - wanted).norm() <= SAME * wanted.norm()):
        reason = f"{type(run.scheduler).__name__} does not give the same step twice"
        run.cannot_go_back(reason)
        raise CannotReflectError(reason)
    run.step_repeats = True


def combine(run: RunState, visits: Sequence[Visit]) -> list[Guidance]:
    """How each step's outputs made its model_output. What held before is tried first; all tries of a
    window wait for the device once."""
    outputs = [[branch.leaves for branch in visit.branches] for visit in visits]
    keys = [tuple(branch.key for branch in visit.branches) for visit in visits]
    for visit, old, key in zip(visits, outputs, keys, strict=True):
        if key not in run.combinations and (first := _solved(old, visit)) is not None:
            run.combinations[key] = first
    known = [run.combinations.get(key) for key in keys]
    model_outputs, latents = zip(*((v.model_output, v.sample) for v in visits), strict=True)
    fits = guidance.explain(known, outputs, model_outputs, latents)
    found: list[Guidance] = []
    for visit, old, fit, before in zip(visits, outputs, fits, known, strict=True):
        combination = before if fit else _solved(old, visit)
        if combination is None:
            raise CannotReflectError("the denoiser's outputs do not have the scheduler's shape")
        found.append(combination)
    sums = [each for each in found if isinstance(each, Combination)]
    if len(sums) == len(found) > 1:
        form = nonlinear.rescaled(sums, outputs, model_outputs)
        found = [form] * len(found) if form is not None else found
    if nonlinear.is_unsteady(found, model_outputs[0].dtype):
        run.log.fall_back("guidance is scaled anew at every step: reflected to first order")
    for visit, key, combination in zip(visits, keys, found, strict=True):
        run.combinations[key] = combination
        _say_misfit(run, visit, combination)
    return found


def first_scale(run: RunState, visit: Visit) -> float | None:
    """The scale of guidance, as a first step shows it; None where it does not. Waits for the device where
    outputs were added up."""
    scale = added_scale(visit)
    return None if scale is None else max(scale, run.embedded_scale)


def added_scale(visit: Visit) -> float | None:
    """`first_scale` of what was added up from outputs alone, 1 where nothing was."""
    return guidance.known_scale(_solved([branch.leaves for branch in visit.branches], visit))


def _solved(old: guidance.Outputs, visit: Visit) -> Guidance | None:
    return nonlinear.solve(old, visit.model_output, visit.sample)


def _say_misfit(run: RunState, visit: Visit, combination: Guidance) -> None:
    if not combination.is_linear:
        raise CannotReflectError(
            f"guidance is not linear in the denoiser's outputs (misfit {combination.misfit:.0%})"
        )
    outputs = [branch.leaves for branch in visit.branches]
    if combination.misfit > guidance.rounding(guidance.coarsest(outputs, visit.model_output)):
        run.log.fall_back(
            f"guidance is not quite linear in the denoiser's outputs (misfit {combination.misfit:.1%}): "
            "reflected to first order"
        )


def evaluate(
    run: RunState, visit: Visit, sample: Tensor, weight: float, combination: Guidance
) -> Tensor:
    """The model_output of a step at another latent, from blended features only."""
    old = [branch.leaves for branch in visit.branches]
    new = [list(leaves(_again(run, visit, branch, sample, weight))) for branch in visit.branches]
    return combination.apply(visit.model_output, old, new, (visit.sample, sample))


def _again(run: RunState, visit: Visit, branch: Branch, sample: Tensor, weight: float) -> Any:
    anchors = run.anchors[branch.key]

    def call(latent: Tensor) -> Any:
        args, kwargs = put(
            copied(branch.arguments), run.places.get(branch.key, ()), latent, branch.memo
        )
        return branch.original(*args, **kwargs)

    with branch.modes.entered(), intercept.lock(branch.denoiser.module, "__call__"):
        feature = anchors.reflect(visit.step, weight)
        return run.passes[branch.key].again(
            call, branch.flat, sample, feature, anchors.output, branch.memo
        )


def relaxed(
    run: RunState,
    sample: Tensor,
    stop: Visit,
    combinations: Sequence[Guidance],
    remembered: scheduler.State | None,
) -> Tensor:
    """x_tentative + gamma (x_replayed - x_tentative), gamma by `config.relax`; what a multistep solver
    remembers likewise."""
    gamma = guided.kept(run, stop, combinations)
    run.log.relaxation[stop.step] = gamma
    if gamma == 1.0:
        return sample
    if remembered is not None:
        replayed = scheduler.snapshot(run.scheduler)
        scheduler.restore(run.scheduler, scheduler.between(remembered, replayed, gamma))
    return scheduler.between(stop.sample, sample, gamma)
