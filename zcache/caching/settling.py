"""After the first step of a run: what is cached from there on, and along which axis it is forecast.

How strong guidance is shows in the first step, which is always full: its outputs and what the pipeline made
of them are there. A run begins with the stack cached, and may go on with the output. Which steps there are is
known then, too."""

from __future__ import annotations

from dataclasses import replace

from ..method import bases
from ..method.abscissa import positions, share_of_angle
from ..method.config import AUTOMATIC
from ..method.granularity import settled
from ..method.guided import GUIDED
from ..method.mapping import UNFITTED, other_guidance
from . import guided
from .anchors import Anchors
from .bindings import Output
from .cached_pass import CachedPass
from .reflection import added_scale, first_scale
from .scheduler import remembers_outputs
from .state import Branch, RunState, Visit
from .times import NOISE, flow_times, prediction, steps_of


def check_guidance(run: RunState, visit: Visit) -> None:
    """Take the defaults where forecasts were fitted at another guidance; `visit` is the first step, just taken."""
    if run.config.base != bases.FITTED:
        return
    added = added_scale(visit)
    run.log.guidance = None if added is None else added * run.embedded_scale
    if note := other_guidance(run.config, run.log.guidance):
        run.log.fall_back(note)
        run.found = run.found.replace(**UNFITTED)
        run.change(**UNFITTED)


def settle(run: RunState, visit: Visit) -> None:
    """Choose what is cached; `visit` is the first step, just taken."""
    if run.config.granularity not in (AUTOMATIC, "output") or not run.caches:
        return
    asked = run.config.granularity == "output"
    tells_noise = prediction(run.scheduler) == NOISE and not run.in_full
    # What the pipeline has made of the first output is no anchor.
    tells_noise &= asked or all(branch.is_as_returned for branch in visit.branches)
    scale = first_scale(run, visit) if tells_noise and not asked else None
    num_steps = steps_of(run.scheduler)
    there = settled(run.fitting(num_steps), num_steps, tells_noise, scale)
    run.change(granularity=there.granularity, weight=there.weight, relax=there.relax)
    run.log.granularity = run.config.granularity
    if run.config.granularity == "output" and not asked:
        for branch in visit.branches:
            _cache_output(run, branch)


def place(run: RunState, visit: Visit) -> None:
    """Choose where the steps stand for forecasts; the run knows by now which they are. A guided flow whose first
    two full steps are neighbours begins with reuse: what they differ by is no slope."""
    if guided.may_begin_with_neighbours(run) and (first_scale(run, visit) or 1.0) > GUIDED:
        run.begin_with(bases.undecided)
    times = flow_times(run.scheduler)
    share = share_of_angle(
        run.config,
        noise=prediction(run.scheduler) == NOISE,
        remembers=remembers_outputs(run.scheduler),
    )
    if times is not None and share:
        run.forecast_along(positions(times[-run.num_steps :], share))


def _cache_output(run: RunState, branch: Branch) -> None:
    """From here on cache the output of a denoiser call that was just computed in full."""
    container = run.anchors[branch.key].output
    denoiser = replace(branch.denoiser, binding=Output())
    run.outputs[id(denoiser.module)] = denoiser
    run.anchors[branch.key] = anchors = Anchors(run.base, run.config.order)
    anchors.add(run.step, tuple(leaf.clone() for leaf in branch.leaves), container)
    run.passes[branch.key] = CachedPass(denoiser)
    run.places.pop(branch.key, None)
