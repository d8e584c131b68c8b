"""What guidance changes in how a run goes back: its base, its weight, and whether it does at all.

The rules are of `method/guided.py` and `method/relaxation.py`; here is what a run shows of its guidance."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..method import bases
from ..method.guided import GUIDED, begins_with_neighbours, is_settled, most_kept, turns_far
from ..method.relaxation import fewest_full_steps, share
from ..method.weights import AUTOMATIC, Fitted, WeightFunction
from . import guidance
from .state import Guidance, RunState, Visit


class CannotReflectError(Exception):
    """Why a window is left as it was forecast."""


def check_strength(run: RunState, stop: Visit, combinations: Sequence[Guidance]) -> None:
    """Raise CannotReflectError where a diffusion sampler's guidance is so strong, and its full steps are so few,
    that nothing of the correction is worth keeping."""
    if run.is_flow or run.config.relax != "time":
        return
    plan = None if run.config.adaptive else run.plan
    full = len(plan.full_steps) if plan else run.num_steps / (stop.step - run.start)
    fewest = fewest_full_steps(scale := guidance.scale(combinations[-1]))
    if full < fewest:
        reason = f"with a guidance of {scale:.3g} a correction helps from {fewest} full steps on"
        if plan:
            run.cannot_go_back(reason)
        raise CannotReflectError(reason)


def weight(run: RunState, combinations: Sequence[Guidance]) -> WeightFunction | Fitted:
    """The weight of a window: the run's; of a guided flow, where `automatic`, the linear one, since trusting its
    newer anchor all along the window has lost up to 20 dB (examples/study)."""
    return run.config.weight_in(True) if is_led_astray(run, combinations) else run.weight


def forecast(run: RunState, stop: Visit, added: float) -> None:
    """Take the base of a flow with guidance, added up with this scale or told; raise CannotReflectError where a
    blend could not look back, or along the base that was asked for would not help. Waits for the device once in a
    run."""
    taken, held = base(run, added), all(a.holds_past for a in run.anchors.values())
    if taken == bases.DAMPED:
        taken = base(run, added, _turned(run.window[0].model_output, stop.model_output))
    elif taken is None:
        _check_turn(run, stop, added)
    if taken != bases.FORA and run.config.weight_in(True) != run.weight and not held:
        raise CannotReflectError("guidance set in at its newer anchor")
    if taken is not None:
        run.change(base=taken)


def _check_turn(run: RunState, stop: Visit, added: float) -> None:
    """Raise CannotReflectError where the outputs of a told flow turn too far for the whole slope that was asked for,
    how a window is corrected was not, and this window is early. Waits for the device once in a run."""
    chosen = (run.config.weight, run.config.relax) == (AUTOMATIC, "time")
    if not chosen or not bases.interpolates(run.base, run.config.order):
        return
    if added > GUIDED or run.plan is None or run.levels is None:
        return
    if run.turned is None:
        run.turned = _turned(run.window[0].model_output, stop.model_output)
    early = not is_settled(run.levels[run.start])
    if early and turns_far(run.plan.full_steps, run.levels, run.turned):
        raise CannotReflectError(
            f"the outputs turn by {run.turned:.0%} of their size in the first window, too far for the base "
            f"{run.log.base!r} with windows as long, until the picture is settled; base='automatic' reuses there"
        )


def stay(run: RunState) -> None:
    """Go on with the base that was asked for, where a window stays as it was forecast."""
    if run.base is bases.undecided:
        run.begin_with(run.config.strategy)


def may_begin_with_neighbours(run: RunState) -> bool:
    """Whether the run may choose its base as a guided flow, and begins with two full steps beside each other."""
    if not run.is_flow or run.plan is None or base(run, 1.0) is None:
        return False
    return begins_with_neighbours(run.plan.full_steps)


def base(run: RunState, added: float, turned: float = 0.0) -> str | None:
    """The base that the run takes where it is found to be guided, None for its own."""
    plan = run.plan
    if plan is None:
        return None
    return run.config.guided_base(plan.full_steps, plan.num_steps, run.levels or (), added, turned)


def _turned(first: Tensor, last: Tensor) -> float:
    """The distance of a window's outputs, of its first step that was cached and its newer anchor, as a part of
    their size: of all rows of a batch together."""
    size = first.float().norm().clamp_min(1e-30)
    return float((last.float() - first.float()).norm() / size)


def is_flow(run: RunState, combinations: Sequence[Guidance]) -> bool:
    """Whether the run is a flow with a guidance above `GUIDED`: added up from outputs, or told to the denoiser."""
    return run.is_flow and max(guidance.scale(combinations[-1]), run.embedded_scale) > GUIDED


def is_led_astray(run: RunState, combinations: Sequence[Guidance]) -> bool:
    """Whether it is one, forecast along the whole slope: guidance enlarges what its newer anchor is off."""
    return is_flow(run, combinations) and bases.interpolates(run.base, run.config.order)


def kept(run: RunState, stop: Visit, combinations: Sequence[Guidance]) -> float:
    """The share of a window's correction to keep, by `config.relax`."""
    relax, levels = run.config.relax, run.levels
    ends = (levels[run.start], levels[stop.step]) if levels else (1.0, 1.0)
    careful = is_flow(run, combinations) and bases.is_careful(run.base, run.config.order)
    astray = levels is not None and is_led_astray(run, combinations)
    gamma = share(relax, *ends, astray, run.windows_closed == 1, careful)
    damped = careful and run.base is bases.damped
    if not damped or relax != "time" or levels is None or run.plan is None:
        return gamma
    return min(gamma, most_kept(run.plan.full_steps, levels, guidance.scale(combinations[-1])))


def may_be_linear(run: RunState) -> bool:
    """Whether `weight` may choose the linear weight for the open window; surely not where no guidance is
    told to the denoiser and its outputs are handed on as they are."""
    handed_on = all(
        any(leaf is visit.model_output for branch in visit.branches for leaf in branch.leaves)
        for visit in run.window
    )
    told = run.embedded_scale > GUIDED
    scales = [guidance.scale(combination) for combination in run.combinations.values()]
    added = 1.0 if told else min(scales, default=1.0)
    automatic = run.config.weight == AUTOMATIC and base(run, added) != bases.FORA
    return run.is_flow and automatic and (told or not handed_on)
