"""What pictures show of a latent, by gradients of their decoder."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

import zcache
from zcache.caching import intercept
from zcache.measure.tune.calls import calls
from zcache.measure.tune.sight import Sight
from zcache.measure.tune.trial import Trials

from ... import pipelines
from .prompting import prompts
from .test_closed_loop import FULL, GUIDED, fitted


def trials(pipe, asked, projections, told=print):
    made = Trials(pipe, asked, "some", 0, {}, None, told, 1, metered=False, projections=projections)
    made.reference(("output",))
    return made


def dit_trials(projections, told=print, pipe=None):
    pipe = pipe or pipelines.dit()
    return pipe, trials(pipe, calls(pipe, [0, 1], GUIDED), projections, told)


def flux_trials(projections, told=print):
    pipe = pipelines.flux()
    pictures = [{**each, "output_type": "np"} for each in prompts(2)]
    return pipe, trials(pipe, calls(pipe, pictures, {}), projections, told)


def dit_shown(pipe, latent):
    half = latent[: len(latent) // 2]  # guidance's other one is not decoded
    return pipe.vae.decode(half / pipe.vae.config.scaling_factor).sample


def flux_shown(pipe, latent):
    side = int(latent.shape[1] ** 0.5) * 2 * pipe.vae_scale_factor
    config, unpacked = (
        pipe.vae.config,
        pipe._unpack_latents(latent, side, side, pipe.vae_scale_factor),
    )
    return pipe.vae.decode(unpacked / config.scaling_factor + config.shift_factor).sample


def saturated_trials(projections):
    pipe = pipelines.dit()
    with torch.no_grad():
        pipe.vae.decoder.conv_out.weight *= 30
    return dit_trials(projections, pipe=pipe)


@pytest.mark.parametrize(
    ("made", "shown"),
    [(dit_trials, dit_shown), (saturated_trials, dit_shown), (flux_trials, flux_shown)],
)
def test_projections_have_the_length_that_the_picture_changes_by(made, shown):
    """The law: their mean square is that of J e, of 400 within 25 % (sqrt(2 / 400) is 7 %); what is beyond white or
    black shows nothing."""
    pipe, own = made(400)
    own.fit(FULL)
    last = own._uncached[0].last
    error = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    with torch.no_grad():
        one, other = (shown(pipe, latent).double() for latent in (last, last + error))
    changed = float((other.clamp(-1, 1) - one.clamp(-1, 1)).square().sum())
    seen = np.square(own._sights[0].of(error.flatten(1).numpy())).sum(-1)

    if made is saturated_trials:
        assert changed < 0.7 * float((other - one).square().sum())
    assert seen[0] == pytest.approx(changed, rel=0.25)
    assert not seen[1:].any()


def test_what_is_seen_is_the_projections_and_as_much_of_the_latents():
    """By hand: gradients 3 and 4 of one number each, two pictures, the second not shown."""
    gradients = np.array([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]], np.float32)
    sight = Sight(gradients, np.ones((3, 4)))
    assert sight.truth.shape == (3, 2, 2)
    rows = np.array([[1.0, 2.0], [5.0, 5.0]])
    projected = sight.of(rows)
    assert projected[0] == pytest.approx([3 / 2**0.5, 8 / 2**0.5])
    # (9 + 16) / 2 of all directions, over two numbers; of it 5 is seen beside (9 + 64) / 2.
    joined = sight.joined(np.square(rows).sum(1), np.square(projected).sum(1))
    assert joined == pytest.approx([6.25 * 5 + 36.5])


@pytest.mark.parametrize("made", [flux_trials, dit_trials])
def test_looking_computes_one_step_of_each_call_once_and_leaves_nothing(made):
    pipe, plain = made(0)
    plain.fit(FULL)
    pipe, own = made(4)
    before = own._draw(range(1))[0]
    counted = []
    hook = pipe.transformer.register_forward_hook(lambda *_: counted.append(1))
    own.fit(FULL)
    first = len(counted)
    own.fit((0, 2, 4, 6))
    hook.remove()

    assert first == len(own.calls) * (len(FULL) + 1)
    assert len(counted) == first + len(own.calls) * 4
    assert np.array_equal(own._draw(range(1))[0], before)
    assert torch.is_grad_enabled()
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert "step" not in vars(pipe.scheduler)
    assert "decode" not in vars(pipe.vae)


def test_a_fit_that_sees_does_not_care_for_what_is_hidden():
    """Of a decoder that shows one channel, pictures come nearer than by a fit to all of the latent."""

    def near(projections):
        pipe = pipelines.dit()
        with torch.no_grad():
            pipe.vae.post_quant_conv.weight[:, 1:] = 0
        pipe, own = dit_trials(projections, pipe=pipe)
        return np.mean(own.measure(fitted(own.fit(FULL).rows))["psnr"])

    assert near(32) > near(0) + 0.2


def test_one_distance_is_told_of_each_picture():
    assert dit_trials(4)[1].fit(FULL).decibels.size == 2
    assert dit_trials(0)[1].fit(FULL).decibels.size == 4  # and of guidance's other half


def plain_rows():
    return dit_trials(0)[1].fit(FULL).rows


def test_a_decoder_without_gradient_is_told_and_latents_are_compared(monkeypatch):
    told = []
    pipe, own = dit_trials(4, told.append)
    decode = pipe.vae.decode

    def fails(latents, *rest, **named):
        if latents.requires_grad:
            raise RuntimeError("no memory")
        return decode(latents, *rest, **named)

    monkeypatch.setattr(pipe.vae, "decode", fails)
    assert own.fit(FULL).rows == plain_rows()
    assert told[-1] == (
        "fits compare latents, not what pictures show of them: RuntimeError: no memory"
    )
    assert torch.is_grad_enabled()
    assert not intercept.is_armed(pipe.transformer, "__call__")


def test_gradients_that_are_not_finite_are_told_too():
    told = []
    pipe, own = dit_trials(4, told.append)
    pipe.vae.post_quant_conv.register_full_backward_hook(
        lambda _, found, __: tuple(each * float("nan") for each in found)
    )
    assert own.fit(FULL).rows == plain_rows()
    assert told[-1].endswith("ValueError: the decoder's gradients are not finite")


def test_calls_that_ask_for_latents_show_nothing():
    told = []
    pipe = pipelines.flux()
    own = trials(pipe, calls(pipe, prompts(), {}), 4, told.append)
    rows = own.fit(FULL).rows
    pipe = pipelines.flux()
    assert rows == trials(pipe, calls(pipe, prompts(), {}), 0).fit(FULL).rows
    assert "fits compare latents" in told[-1]


def test_steps_without_closed_form_are_told_too():
    told = []
    pipe = pipelines.dit()
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    _, own = dit_trials(4, told.append, pipe)
    assert own.fit(FULL).rows
    assert "no closed form" in told[-1]


def test_tune_tells_of_the_gradients_before_it_starts():
    told = []
    pipe = pipelines.dit()
    with pytest.raises(zcache.ConfigError, match="projections"):
        zcache.tune(pipe, [0, 1, 2], projections=-1, **GUIDED)
    zcache.tune(
        pipe,
        [0, 1, 2, 3],
        held_out=[1],
        full=4,
        effort=80,
        projections=2,
        told=told.append,
        **GUIDED,
    )
    assert told[0].endswith("and 2 gradients of the decoder for each of the former")
