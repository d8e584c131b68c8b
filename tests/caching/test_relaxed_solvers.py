"""Relaxed reflection with solvers that remember: what is kept of a correction is kept of their memory, too.

Laws: with nothing kept the output is that without reflection; with everything kept it is the paper's; and half of a
lone window's correction is halfway between the two latents after it, since a step is linear in all it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)

import zcache
from zcache import ZCacheConfig
from zcache.caching.scheduler import between

from ..pipelines import CASES, STEPS

DIT = next(case for case in CASES if case.name == "dit")
FLUX = next(case for case in CASES if case.name == "flux")
WINDOWS = ZCacheConfig(full_steps=(0, 1, 2, 6, 11), base="taylorseer", relax=None)
SOLVERS = [
    (DIT, DDIMScheduler()),
    (DIT, UniPCMultistepScheduler()),
    (DIT, UniPCMultistepScheduler(solver_order=3)),
    (DIT, DPMSolverMultistepScheduler()),
    (DIT, DPMSolverMultistepScheduler(solver_order=3)),
    (DIT, DEISMultistepScheduler()),
    (DIT, PNDMScheduler(skip_prk_steps=True)),
    (DIT, SASolverScheduler(tau_func=lambda t: 0)),
    (FLUX, FlowMatchEulerDiscreteScheduler()),
]
ids = [f"{case}-{type(s).__name__}-{s.config.get('solver_order', '')}" for case, s in SOLVERS]


def drawn(case: Any, scheduler: Any, config: ZCacheConfig) -> torch.Tensor:
    pipe = case.build()
    pipe.scheduler = type(scheduler).from_config(scheduler.config)
    with zcache.enabled(pipe, config) as handle:
        output = case.run(pipe).double()
    assert handle.report().full_passes == len(WINDOWS.full_steps or ())
    return output


@pytest.mark.parametrize(("case", "scheduler"), SOLVERS, ids=ids)
def test_with_nothing_kept_nothing_was_reflected(case: Any, scheduler: Any) -> None:
    plain = drawn(case, scheduler, WINDOWS.replace(reflect=False))
    nothing = drawn(case, scheduler, WINDOWS.replace(relax=0.0))
    everything = drawn(case, scheduler, WINDOWS)
    moved = (everything - plain).norm()
    assert moved > 1e-4 * plain.norm()
    assert (nothing - plain).norm() < 1e-3 * moved
    assert (drawn(case, scheduler, WINDOWS.replace(relax=1.0)) - everything).norm() == 0


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_half_of_a_lone_window_is_halfway(kind: Any) -> None:
    """Of an output that is cached: it does not answer the latent, so nothing but the solver's step stands between."""

    class Recorded(kind):
        def step(self, model_output: Any, timestep: Any, sample: Any, **more: Any) -> Any:
            returned = super().step(model_output, timestep, sample, **more)
            after[int(timestep)] = (
                returned[0] if isinstance(returned, tuple) else returned.prev_sample
            )
            return returned

    found = []
    for own in ({"reflect": False}, {"relax": 0.5}, {"relax": 1.0}):
        after: dict[int, torch.Tensor] = {}
        pipe = DIT.build()
        pipe.scheduler = Recorded.from_config(kind().config)
        config = ZCacheConfig(full_steps=(0, 6), granularity="output", **own)
        with zcache.enabled(pipe, config):
            DIT.run(pipe)
        found.append(after[int(pipe.scheduler.timesteps[6])].double())
    none, half, whole = found
    assert (whole - none).norm() > 1e-4 * none.norm()
    assert (half - (none + whole) / 2).norm() < 1e-2 * (whole - none).norm()


def test_every_tensor_of_a_state_is_kept_in_part() -> None:
    one, other = torch.zeros(2), torch.ones(2)
    tentative = {"index": 3, "last": one, "outputs": [None, one], "table": other, "names": ["a"]}
    replayed = {
        "index": 4,
        "last": other,
        "outputs": [other, other],
        "table": other,
        "names": ["b"],
    }
    found = between(tentative, replayed, 0.25)
    assert found["index"] == 4 and found["table"] is other and found["names"] == ["b"]
    assert found["last"].tolist() == [0.25, 0.25]
    assert found["outputs"][0] is other and found["outputs"][1].tolist() == [0.25, 0.25]
    assert one.tolist() == [0, 0] and len(replayed["outputs"]) == 2


assert STEPS == 12  # the full steps above
