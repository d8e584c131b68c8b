"""Reflection: go back over a window once its newer anchor is known (Sec. 3.2, 3.3; Fig. 3).

Every cached step of the window is taken again from the latent saved at its beginning, with features
blended from the older and the newer anchor; then the anchor's own step, with the features computed
there, on the corrected latent. Nothing is computed in full. Relaxed reflection (ours) shortens the
correction at the anchor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..method.schedule import Kind, Pass
from ..method.weights import weight_at
from . import adapters, guidance, scheduler
from .arguments import copied, locate, put
from .bindings import inner
from .features import leaves
from .guidance import Combination
from .state import Branch, Original, RunState, Visit


class CannotReflectError(Exception):
    """Why a window is left as it was forecast."""


def reflect(run: RunState, step: Original, stop: Visit) -> Any | None:
    """Replay the open window and take the step at `stop`; None if the window must stay."""
    try:
        check_window(run, stop)
    except CannotReflectError as reason:
        run.log.fall_back(f"a window was not reflected: {reason}")
        return None
    weight = run.weight
    scheduler.restore(run.scheduler, run.scheduler_state)
    sample = run.window[0].sample
    for visit, following in zip(run.window, [*run.window[1:], stop], strict=True):
        w = weight_at(weight, visit.step, run.start, stop.step)
        run.announce(Pass(visit.step, Kind.REFLECT, w), run.plan.num_steps)
        model_output = evaluate(run, visit, sample, w)
        result = step(model_output, visit.timestep, sample, *visit.args, **visit.kwargs)
        sample = carry_edit(
            scheduler.previous_sample(result).to(visit.sample.dtype), visit, following
        )
    sample = relaxed(run, sample, stop)
    run.announce(Pass(stop.step, Kind.REFLECT, 1.0), run.plan.num_steps)
    model_output = evaluate(run, stop, sample, 1.0)
    return step(model_output, stop.timestep, sample, *stop.args, **stop.kwargs)


def check_window(run: RunState, stop: Visit) -> None:
    """Raise CannotReflectError unless every step of the window can be taken again."""
    for visit in [*run.window, stop]:
        if scheduler.is_stochastic(run.scheduler, visit.kwargs):
            raise CannotReflectError("its steps draw noise")
        for branch in visit.branches:
            anchors = run.anchors.get(branch.key)
            if anchors is None or anchors.newest != stop.step or run.start not in anchors.steps:
                raise CannotReflectError("a denoiser call has no anchor at both of its ends")
            if visit is not stop and not branch.from_cache:
                raise CannotReflectError("a denoiser call was computed in full inside it")
        combination(run, visit)
        if visit.branches and not _ignores_latent(visit):
            places(run, visit)
    for visit, following in zip(run.window, [*run.window[1:], stop], strict=True):
        if visit.returned.shape != following.sample.shape:
            raise CannotReflectError("the pipeline changed the latent's shape between two steps")


def evaluate(run: RunState, visit: Visit, sample: Tensor, weight: float) -> Tensor:
    """The model_output of a step at another latent, from blended features only."""
    old = [branch.leaves for branch in visit.branches]
    new = [list(leaves(_again(run, visit, branch, sample, weight))) for branch in visit.branches]
    return combination(run, visit).apply(visit.model_output, old, new)


def _again(run: RunState, visit: Visit, branch: Branch, sample: Tensor, weight: float) -> Any:
    anchors = run.anchors[branch.key]
    feature = anchors.reflect(visit.step, weight)
    arguments = copied(branch.arguments)
    if not _ignores_latent(visit):
        arguments = put(arguments, run.known["place", branch.key], sample)
    args, kwargs = arguments
    return branch.denoiser.binding.cached(
        lambda: branch.original(*args, **kwargs), feature, anchors.output, branch.memo
    )


def _ignores_latent(visit: Visit) -> bool:
    """At output granularity a cached pass does not call the denoiser."""
    return all(branch.denoiser.binding.ignores_arguments for branch in visit.branches)


def places(run: RunState, visit: Visit) -> None:
    """Find the sample in the arguments of every call of a step, once per run and call."""
    for branch in visit.branches:
        if ("place", branch.key) in run.known:
            continue
        found = locate(branch.arguments, visit.sample)
        if not found:
            raise CannotReflectError("the latent was not found in the denoiser's arguments")
        run.known["place", branch.key] = found


def combination(run: RunState, visit: Visit) -> Combination:
    """How the calls' outputs make the model_output; found once per run if it is constant."""
    key = ("guidance", tuple(branch.key for branch in visit.branches))
    if not _constant_guidance(visit):
        key = (*key, visit.step)
    if key not in run.known:
        run.known[key] = guidance.solve(
            [branch.leaves for branch in visit.branches], visit.model_output
        )
    found = run.known[key]
    if found is None:
        raise CannotReflectError("the denoiser's outputs do not have the scheduler's shape")
    if not found.is_linear:
        raise CannotReflectError(
            f"guidance is not linear in the denoiser's outputs (misfit {found.misfit:.0%})"
        )
    return found


def _constant_guidance(visit: Visit) -> bool:
    found = [adapters.find(inner(branch.denoiser.module)) for branch in visit.branches]
    return all(adapter is not None and adapter.constant_guidance for adapter in found)


def carry_edit(sample: Tensor, visit: Visit, following: Visit) -> Tensor:
    """Add what the pipeline or a callback did to the latent between two steps."""
    if following.sample is visit.returned:
        return sample
    return sample + (following.sample - visit.returned)


def relaxed(run: RunState, sample: Tensor, stop: Visit) -> Tensor:
    """x_tentative + gamma (x_replayed - x_tentative), gamma by `config.relax`."""
    gamma = run.config.relax
    if gamma == "sigma":
        gamma = None
        if run.levels is not None:
            gamma = scheduler.relaxation(run.levels[run.start], run.levels[stop.step])
    run.log.relaxation[stop.step] = 1.0 if gamma is None else float(gamma)
    if gamma is None or gamma == 1.0:
        return sample
    return torch.lerp(stop.sample.float(), sample.float(), float(gamma)).to(sample.dtype)
