"""What a latent is made of, against diffusers' own schedulers."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from zcache.caching import affine
from zcache.measure.tune.affine_steps import AffineSteps

SCHEDULERS = [
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    DDIMScheduler(clip_sample=False),
    DDIMScheduler(clip_sample=False, prediction_type="v_prediction"),
]


def run(scheduler, noise, outputs):
    """The latent after every step, in float64."""
    latents = [noise]
    for timestep, output in zip(scheduler.timesteps, outputs, strict=True):
        latents.append(scheduler.step(output, timestep, latents[-1], return_dict=False)[0])
    return np.stack([latent.numpy() for latent in latents[1:]]).astype(np.float64)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: type(s).__name__)
def test_latents_without_their_noise_are_sums_of_the_outputs(scheduler):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 12, generator=generator)
    noise = torch.randn(12, generator=generator)
    scheduler.set_timesteps(6)
    steps = AffineSteps([(a, float(b)) for a, b in affine.find(scheduler, 0).rows])
    latents = run(scheduler, noise, outputs)
    scheduler.set_timesteps(6)
    latents -= run(scheduler, noise, torch.zeros_like(outputs))

    own = outputs.numpy().astype(np.float64)
    assert np.allclose(steps.summed(own.T).T, latents, atol=1e-4)
    for step in range(1, 6):
        assert np.allclose(
            steps.between(step, latents[step - 1], latents[step]), own[step], atol=1e-3
        )
        assert np.allclose(
            steps.after(step, latents[step - 1], own[step]), latents[step], atol=1e-4
        )


def test_of_zero_and_one_a_latent_is_the_newest_output():
    steps = AffineSteps([(0.0, 1.0)] * 3)
    outputs = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(steps.summed(outputs), outputs)
    assert np.array_equal(steps.between(1, np.ones(2), np.full(2, 5.0)), np.full(2, 5.0))
