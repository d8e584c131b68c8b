"""Forecasts fitted to an accelerated run's own anchors."""

import numpy as np
import pytest
import torch
from diffusers import ClassifierFreeGuidance

import zcache
from zcache import ZCacheConfig
from zcache.caching import intercept
from zcache.measure.clock import given
from zcache.measure.tune import closed_loop, least_squares
from zcache.measure.tune.calls import calls
from zcache.measure.tune.race import Race
from zcache.measure.tune.search import Search
from zcache.measure.tune.trial import Trials
from zcache.method import candidates
from zcache.method.forecasts import lengths

from ... import pipelines
from .prompting import STEPS, prompts

FULL = (0, 3, 4, 6)
GUIDED = {"num_inference_steps": STEPS, "guidance_scale": 2.0}


def trials(pipe, asked, batch=1, forms=("output",)):
    made = Trials(pipe, asked, "some", 0, {}, None, print, batch, metered=False)
    made.reference(forms)
    return made


def flux_trials():
    pipe = pipelines.flux()
    return pipe, trials(pipe, calls(pipe, prompts(), {}))


def dit_trials(batch=1):
    pipe = pipelines.dit()
    return pipe, trials(pipe, calls(pipe, [0, 1, 2], GUIDED), batch)


def fitted(rows):
    return ZCacheConfig(
        full_steps=FULL, granularity="output", forecasts=rows, **candidates.IN_CLOSED_LOOP
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
    rows = own.fit(FULL)
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
    rows = own.fit(FULL)
    hook.remove()

    assert len(counted) == len(own.calls) * len(FULL)
    assert rows == own.fit(FULL)
    assert np.array_equal(own._draw(range(1))[0], before)
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert "step" not in vars(pipe.scheduler)


def test_nothing_of_the_anchors_would_bring_the_last_latent_nearer(fits):
    """The law of least squares, of the accelerated run itself: what its last latent is off is orthogonal to every
    anchor, since what the steps before are off is made good. One class: of several the weighted sum is."""
    pipe = pipelines.dit()
    own = trials(pipe, calls(pipe, [1], GUIDED))
    latents = []
    rows = own.fit(FULL)
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
    measured = own.measure(fitted(own.fit(FULL)))
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
    for one, other in zip(alone.fit(FULL), together.fit(FULL), strict=True):
        assert one[0] == pytest.approx(other[0], abs=2e-3)
        assert one[1] == pytest.approx(other[1], abs=2e-3)


def test_an_earlier_tunings_uncached_runs_are_made_once_more(tmp_path):
    """Also where the earlier one was stopped among them."""
    pipe = pipelines.flux()
    asked = calls(pipe, prompts(), {})
    found = []
    for _ in range(3):
        own = Trials(pipe, asked, "some", 0, {}, tmp_path, print, 1, metered=False)
        own.reference(("output",))
        found.append(own.fit(FULL))
        if len(found) == 2:
            (tmp_path / "some" / "uncached-1.npz").unlink()
    assert found[0] == found[1] == found[2]


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


def test_a_search_takes_fitted_forecasts_that_win_and_counts_what_they_cost():
    rows = {}
    runs = []

    def fit(steps):
        runs.append(4)
        rows[steps] = tuple(
            ((0.5,) * first, (0.5,) * second)
            for first, second in (lengths(steps, k) for k in range(20))
        )
        return rows[steps]

    def measure(config, count):
        runs.append(count)
        return {"psnr": [40.0 + 5 * (config.base == "fitted")] * count}

    times = [1 - k / 20 for k in range(20)]
    search = Search({"output": np.eye(20).tolist()}, times, True, 4, measure, fit)
    best = search.best([5], 100)[5]

    assert best.base == "fitted"
    assert best.forecasts == rows[best.full_steps]
    assert best.granularity == "output"
    assert best.relax is None
    unfitted = Search({"output": np.eye(20).tolist()}, times, True, 4, measure)
    assert unfitted.best([5], 100)[5].base != "fitted"


@pytest.mark.parametrize(("limit", "fits"), [(31, 0), (32, 1), (63, 1)])
def test_forecasts_are_fitted_where_runs_enough_are_left_for_the_race(limit, fits):
    """Of four prompts a fit costs four runs, and as many to try it: from four times that on."""
    made = []

    def measure(config, count):
        return {"psnr": [40.0] * count}

    def fit(steps):
        made.append(steps)

    times = [1 - k / 20 for k in range(20)]
    Search({"output": np.eye(20).tolist()}, times, True, 4, measure, fit).best([5], limit)
    assert len(made) == fits


def test_runs_made_elsewhere_count_and_are_refused_beyond_the_limit():
    race = Race(lambda config, count: {"psnr": [1.0] * count}, 4, 10)
    assert race.take(4, spare=4)
    assert not race.take(4, spare=4)
    assert race.take(4)
    assert not race.take(4)
