"""Forecasts fitted to an accelerated run's own anchors."""

import numpy as np
import pytest
import torch
from diffusers import ClassifierFreeGuidance, DPMSolverMultistepScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching import intercept
from zcache.measure.clock import given
from zcache.measure.tune import closed_loop, least_squares
from zcache.measure.tune.calls import calls
from zcache.measure.tune.race import Race
from zcache.measure.tune.trial import Trials
from zcache.method import candidates

from ... import pipelines
from .prompting import STEPS, prompts

FULL = (0, 3, 4, 6)
GUIDED = {"num_inference_steps": STEPS, "guidance_scale": 2.0}


def trials(pipe, asked, batch=1, forms=("output",)):
    made = Trials(pipe, asked, "some", 0, {}, None, print, batch, metered=False)
    made.reference(forms)
    return made


def stored_trials(pipe, asked, folder):
    made = Trials(pipe, asked, "some", 0, {}, folder, print, 1, metered=False)
    made.reference(("output",))
    return made


def flux_trials():
    pipe = pipelines.flux()
    return pipe, trials(pipe, calls(pipe, prompts(), {}))


def dit_trials(batch=1):
    pipe = pipelines.dit()
    return pipe, trials(pipe, calls(pipe, [0, 1, 2], GUIDED), batch)


def fitted(rows, full_steps=FULL):
    return ZCacheConfig(
        full_steps=full_steps, granularity="output", forecasts=rows, **candidates.IN_CLOSED_LOOP
    )


@pytest.fixture
def fits(monkeypatch):
    """The anchors of every call of a fit, once for each full step."""
    found = []
    advance = closed_loop.Anchors.advance
    monkeypatch.setattr(
        closed_loop.Anchors, "advance",
        lambda self, *given: found.append(self) or advance(self, *given),
    )  # fmt: skip
    return found


@pytest.mark.parametrize("made", [flux_trials, dit_trials])
def test_the_anchors_of_a_fit_are_those_of_the_accelerated_run(made, fits):
    """The law that makes it a closed loop: with guidance, too, and where windows are gone back over."""
    pipe, own = made()
    rows = own.fit(FULL).rows
    computed = []
    hook = pipe.transformer.register_forward_hook(lambda _, __, out: computed.append(out[0]))
    with zcache.enabled(pipe, fitted(rows)) as handle:
        own._draw(range(1))
    hook.remove()

    assert handle.report().full_steps == FULL
    assert handle.report().relaxation
    outputs = [leaves[0] for calls in fits[0].outputs for _, leaves in calls]
    assert len(outputs) == len(computed)
    for there, here in zip(outputs, computed, strict=True):
        assert torch.allclose(there, here, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("made", [flux_trials, dit_trials])
def test_a_fit_computes_every_full_step_once_and_leaves_nothing(made):
    pipe, own = made()
    before = own._draw(range(1))[0]
    counted = []
    hook = pipe.transformer.register_forward_hook(lambda *_: counted.append(1))
    rows = own.fit(FULL).rows
    hook.remove()

    assert len(counted) == len(own.calls) * len(FULL)
    assert rows == own.fit(FULL).rows
    assert np.array_equal(own._draw(range(1))[0], before)
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert "step" not in vars(pipe.scheduler)


@pytest.mark.parametrize("made", [flux_trials, dit_trials])
@pytest.mark.parametrize("other", [(0, 3, 5, 6), (0, 2, 4, 6), (0, 3, 4, 7), (0, 3, 4)])
def test_a_fit_near_another_computes_only_what_they_do_not_begin_with(made, other):
    pipe, own = made()
    alone, near = own.fit(other), own.fit(FULL)
    fresh = Trials(pipe, own.calls, "some", 0, {}, None, print, 1, metered=False)
    fresh.reference(("output",))
    counted = []
    hook = pipe.transformer.register_forward_hook(lambda *_: counted.append(1))
    found = fresh.fit(other, near)
    hook.remove()

    same = next((k for k, (a, b) in enumerate(zip(FULL, other, strict=False)) if a != b), 3)
    assert len(counted) == len(own.calls) * (len(other) - same)
    assert found.rows == alone.rows
    assert found.decibels == pytest.approx(alone.decibels)
    assert own.fit(FULL).rows == near.rows  # which is as it was


@pytest.mark.parametrize("made", [flux_trials, dit_trials])
def test_a_fit_knows_how_near_the_accelerated_runs_last_latents_come(made):
    pipe, own = made()
    told, seen = [], []
    for full_steps in (FULL, (0, 2, 4, 7)):
        found = own.fit(full_steps)
        config = fitted(found.rows, full_steps)
        told.append(found.decibels.reshape(len(own.calls), -1))
        seen.append([nearness(pipe, own, range(k, k + 1), config) for k in range(len(own.calls))])
    for row in (told[1] - told[0]).T:  # with guidance one of either half
        assert row == pytest.approx(np.subtract(*seen[::-1]), abs=0.05)


def nearness(pipe, own, batch, config):
    """Of the last latents of one call, in dB: FLUX's calls here ask for these."""
    latents = []
    watched = given(pipe.vae, "decode", lambda x, *_, **__: latents.append(x))
    with watched:
        plain = own._draw(batch)
        with zcache.enabled(pipe, config):
            cached = own._draw(batch)
    one, other = latents or map(torch.as_tensor, (plain[0], cached[0]))
    return -20 * float((one - other).double().norm().log10())


def test_a_fit_whose_steps_have_no_closed_form_does_not_say_how_near_it_comes():
    pipe = pipelines.dit()
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    found = trials(pipe, calls(pipe, [0], GUIDED)).fit(FULL)
    assert found.rows
    assert found.decibels is None


def test_nothing_of_the_anchors_would_bring_the_last_latent_nearer(fits):
    """The law of least squares, of the accelerated run itself: what its last latent is off is orthogonal to every
    anchor, since what the steps before are off is made good. One class: of several the weighted sum is."""
    pipe = pipelines.dit()
    own = trials(pipe, calls(pipe, [1], GUIDED))
    latents = []
    rows = own.fit(FULL).rows
    with given(pipe.vae, "decode", lambda latent, *_, **__: latents.append(latent[0].flatten())):
        own._draw(range(1))
        with zcache.enabled(pipe, fitted(rows)):
            own._draw(range(1))
    off = (latents[1] - latents[0]).double().numpy()

    assert np.linalg.norm(off) > 1e-3 * np.linalg.norm(latents[0])
    for anchor in fits[0].given:
        cosine = anchor[0] @ off / np.linalg.norm(anchor[0]) / np.linalg.norm(off)
        assert abs(cosine) < 0.02


def test_fitted_forecasts_are_nearer_than_every_rule_with_the_same_full_steps():
    _, own = flux_trials()
    rules = [
        {"base": "taylorseer"}, {"base": "taylorseer", "order": 2}, {"base": "damped"}, {"base": "fora"},
        {"reflect": False}, {"base": "taylorseer", "weight": "logarithmic", "relax": None},
    ]  # fmt: skip
    best = max(
        np.mean(own.measure(ZCacheConfig(full_steps=FULL, granularity="output", **rule))["psnr"])
        for rule in rules
    )
    measured = own.measure(fitted(own.fit(FULL).rows))
    assert np.mean(measured["psnr"]) > best
    assert measured["guidance"] == pytest.approx(3.5)


def test_a_profile_of_fitted_forecasts_says_at_which_guidance_and_is_read_again(
    tmp_path, monkeypatch
):
    """Of a random model little is clearly better than the defaults: here what was fitted wins."""
    best = Race.best
    monkeypatch.setattr(
        Race, "best",
        lambda self, *given: next(
            (config for config in self.leaders() if config.forecasts), best(self, *given)
        ),
    )  # fmt: skip
    pipe = pipelines.flux()
    profile = zcache.tune(
        pipe, prompts(6), held_out=prompts(2), full=4, effort=60, granularity="output",
        num_inference_steps=STEPS,
    )  # fmt: skip
    config = profile.config()
    assert config.base == "fitted"
    assert config.guidance == pytest.approx(3.5)
    assert zcache.Profile.load(profile.save(tmp_path / "my.json")) == profile
    with zcache.enabled(pipe, zcache.Profile.load(tmp_path / "my.json")) as handle:
        pipe(**prompts(1)[0])
    assert handle.report().base == "fitted"
    assert not handle.report().fallbacks


@pytest.mark.parametrize("batch", [2, 3])
def test_calls_that_are_drawn_together_are_fitted_alike(batch):
    """Three calls: of batches of two the last is smaller."""
    _, alone = dit_trials()
    _, together = dit_trials(batch)
    for one, other in zip(alone.fit(FULL).rows, together.fit(FULL).rows, strict=True):
        assert one[0] == pytest.approx(other[0], abs=2e-3)
        assert one[1] == pytest.approx(other[1], abs=2e-3)


def test_an_earlier_tunings_uncached_runs_are_made_once_more(tmp_path):
    """Also where the earlier one was stopped among them."""
    pipe = pipelines.flux()
    asked = calls(pipe, prompts(), {})
    found = []
    for _ in range(3):
        own = stored_trials(pipe, asked, tmp_path)
        found.append(own.fit(FULL).rows)
        (tmp_path / "some" / "fits.json").unlink()
        if len(found) == 2:
            (tmp_path / "some" / "uncached-1.npz").unlink()
    assert found[0] == found[1] == found[2]


def test_what_was_fitted_is_stored_with_how_near_it_comes(tmp_path):
    """Then nothing runs, but what goes on from there has no anchors to take."""
    pipe = pipelines.flux()
    asked = calls(pipe, prompts(), {})
    own = stored_trials(pipe, asked, tmp_path)
    first = own.fit(FULL)
    again = stored_trials(pipe, asked, tmp_path)
    counted = []
    hook = pipe.transformer.register_forward_hook(lambda *_: counted.append(1))
    stored = again.fit(FULL)
    assert not counted
    assert stored.rows == first.rows
    assert np.array_equal(stored.decibels, first.decibels)

    found = again.fit((0, 3, 4, 7), stored)
    hook.remove()
    assert len(counted) >= 4 * len(asked)
    assert found.rows == own.fit((0, 3, 4, 7), first).rows


def test_a_denoiser_that_is_called_now_once_and_now_twice_is_not_fitted():
    """Guidance from the middle on: the second call has no output at the anchors before."""
    case = pipelines.BY_NAME["hunyuan15-guided"]
    pipe = case.build()
    asked = {k: v for k, v in case.arguments(STEPS).items() if k != "generator"}
    own = trials(pipe, calls(pipe, [asked], {}))
    assert own.fit(FULL) is not None
    pipe.guider = ClassifierFreeGuidance(guidance_scale=6.0, start=0.5)
    own = trials(pipe, calls(pipe, [asked], {}), forms=())

    assert own.fit(FULL) is None
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert "step" not in vars(pipe.scheduler)


def test_one_picture_is_least_squares():
    """Against NumPy's own, and with anchors that are the same twice."""
    generator = np.random.default_rng(0)
    anchors, wanted = generator.normal(size=(3, 50)), generator.normal(size=50)
    found = least_squares.solved(
        (anchors @ anchors.T)[None], (anchors @ wanted)[None], np.array([wanted @ wanted])
    )
    assert found == pytest.approx(np.linalg.lstsq(anchors.T, wanted)[0], abs=1e-4)

    same = np.stack([anchors[0], anchors[0]])
    found = least_squares.solved(
        (same @ same.T)[None], (same @ anchors[0])[None], (anchors[0] @ anchors[0])[None]
    )
    assert sum(found) == pytest.approx(1, abs=1e-4)
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_the_farthest_picture_does_not_decide_alone():
    """Nine pictures want twice an anchor, one a hundred times larger five times: unweighted that is 5."""
    gram = np.ones((10, 1, 1))
    wanted, sizes = np.full((10, 1), 2.0), np.full(10, 4.0)
    gram[9], wanted[9], sizes[9] = 1e4, 5e4, 25e4
    assert least_squares.solved(gram, wanted, sizes)[0] == pytest.approx(2, abs=0.4)


def test_runs_made_elsewhere_count_and_are_refused_beyond_the_limit():
    race = Race(lambda config, count: {"psnr": [1.0] * count}, 4, 10)
    assert race.take(4, spare=4)
    assert not race.take(4, spare=4)
    assert race.take(4)
    assert not race.take(4)
