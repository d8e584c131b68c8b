"""Whether an uncached run's latents follow from what its scheduler was given."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from zcache.measure.tune.uncached import Uncached

from ... import pipelines
from .prompting import STEPS, prompts


def walk(scheduler, begin=0, dtype=torch.float32, edit=None, **more):
    """A run of `STEPS` steps from `begin` on, with `edit` on the latent before each."""
    scheduler.set_timesteps(STEPS)
    if begin and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    run, generator = Uncached(), torch.Generator().manual_seed(0)
    latent = torch.randn(1, 4, 4, 4, generator=generator).to(dtype)
    with run.watching(scheduler):
        for step, timestep in enumerate(scheduler.timesteps[begin:]):
            latent = latent if edit is None else edit(step, latent)
            output = torch.randn(latent.shape, generator=generator).to(dtype)
            latent = scheduler.step(output, timestep, latent, return_dict=False, **more)[0]
    assert "step" not in vars(scheduler)
    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("make", "known"),
    [
        (lambda: FlowMatchEulerDiscreteScheduler(shift=3.0), True),
        (lambda: DDIMScheduler(clip_sample=False), True),
        (lambda: DDIMScheduler(clip_sample=True), False),
        (lambda: DPMSolverMultistepScheduler(), False),
        (lambda: HeunDiscreteScheduler(), False),
    ],
)
def test_latents_follow_where_the_steps_have_a_closed_form(make, known, dtype):
    assert (walk(make(), dtype=dtype).closed_form() is not None) == known


@pytest.mark.parametrize(
    "make", [FlowMatchEulerDiscreteScheduler, lambda: DDIMScheduler(clip_sample=False)]
)
def test_a_run_from_the_middle_has_the_last_rows(make):
    whole, part = walk(make()), walk(make(), begin=3)
    assert len(part.given()) == STEPS - 3
    assert part.closed_form() == whole.closed_form()[3:]


def test_steps_with_noise_of_their_own_do_not_follow():
    generator = torch.Generator().manual_seed(0)
    assert walk(DDIMScheduler(clip_sample=False), eta=0.0).closed_form()
    assert (
        walk(DDIMScheduler(clip_sample=False), eta=1.0, generator=generator).closed_form() is None
    )


@pytest.mark.parametrize(("dtype", "by"), [(torch.float32, 1.001), (torch.bfloat16, 1.2)])
def test_latents_that_are_written_into_between_steps_do_not_follow(dtype, by):
    """As inpainting does; before one step of all, and half of the numbers, is enough."""

    def edit(step, latent):
        return torch.cat([latent[..., :2] * by, latent[..., 2:]], -1) if step == 5 else latent

    assert walk(DDIMScheduler(clip_sample=False), dtype=dtype, edit=edit).closed_form() is None


def test_the_rows_are_what_the_pipeline_gives():
    pipe, run = pipelines.flux(), Uncached()
    outputs = []
    hook = pipe.transformer.register_forward_hook(lambda _, __, out: outputs.append(out[0]))
    with run.watching(pipe.scheduler):
        pipe(**prompts(1)[0], generator=pipelines.seeded())
    hook.remove()
    assert np.array_equal(run.given(), torch.stack(outputs).flatten(1).numpy())
    assert run.closed_form()
