"""Spectrum, SeaCache and DPCache as peers: their rules by hand, and real runs beside a plain loop."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ConfigError
from zcache.caching import anchors
from zcache.errors import AlreadyEnabledError, UnsupportedPipelineError
from zcache.evaluation import methods
from zcache.evaluation.rivals import dpcache, seacache, spectrum
from zcache.method import bases

from ..pipelines import CASES, STEPS, dit, dit_arguments, flux, flux_arguments, seeded

CASE = {case.name: case for case in CASES}


# ---- Spectrum --------------------------------------------------------------------------------


def test_the_windows_grow_as_published() -> None:
    """Five full steps, then windows of floor(2), (2.75), (3.5), (4.25), (5), (5.75), (6.5), (7.25), (8) and
    (8.75) = 2, 2, 3, 4, 5, 5, 6, 7, 8, 8 steps, each of which ends on a full one: 6, 8, 11, 15, 20, 25, 31,
    38, 46, and 54 is beyond the end."""
    expected = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 25, 31, 38, 46)
    assert spectrum.growing(50, 2, 0.75) == expected
    assert spectrum.growing(9, 1, 0) == tuple(range(9))
    assert spectrum.growing(12, 3, 0, warmup=2) == (0, 1, 4, 7, 10)


@pytest.mark.parametrize("count", [6, 8, 10, 14, 20])
def test_the_flex_for_a_number_of_full_steps_is_the_least(count: int) -> None:
    flex = spectrum.matched(50, count)
    assert len(spectrum.growing(50, 2, flex)) <= count
    assert flex == 0 or len(spectrum.growing(50, 2, flex - 0.05)) > count


@torch.no_grad()
def test_spectrum_is_the_head_on_the_blend_of_fit_and_line() -> None:
    """A plain loop with hooks on the head: full steps note what enters it, the others replace it."""
    pipe, settings = flux(), {"window": 3, "flex": 0.5, "weight": 0.7, "ridge": 0.01}
    with spectrum.spectrum(pipe, STEPS, **settings) as handle:
        actual = pipe(**flux_arguments(STEPS), return_dict=False)[0]
    report = handle.report()
    assert report.fallbacks == () and report.full_steps == spectrum.growing(STEPS, 3, 0.5)

    plain, given, states = flux(), flux_arguments(STEPS), {}
    x, image_ids = plain.prepare_latents(1, 1, 16, 16, torch.float32, "cpu", seeded())
    sigmas = [*pipe.scheduler.timesteps.div(1000).tolist(), 0.0]

    def entering(step: int, args: tuple) -> Any:
        if step in report.full_steps:
            states[step] = args[0]
            return None
        steps = list(states)
        columns = np.polynomial.chebyshev.chebvander(np.array(steps) / 25 - 1, 4)
        new = np.polynomial.chebyshev.chebvander(np.array([step]) / 25 - 1, 4)
        fit = (new @ np.linalg.solve(columns.T @ columns + 0.01 * np.eye(5), columns.T))[0]
        share = (step - steps[-1]) / (steps[-1] - steps[-2])
        state = sum(float(c) * states[k] for c, k in zip(fit, steps, strict=True)) * 0.7
        state = state + 0.3 * (states[steps[-1]] * (1 + share) - states[steps[-2]] * share)
        return (state, *args[1:])

    for step in range(STEPS):
        hook = plain.transformer.norm_out.register_forward_pre_hook(
            lambda _, args, step=step: entering(step, args)
        )
        velocity = plain.transformer(
            hidden_states=x,
            timestep=torch.tensor([sigmas[step]]),
            guidance=torch.full([1], 3.5),
            encoder_hidden_states=given["prompt_embeds"],
            pooled_projections=given["pooled_prompt_embeds"],
            txt_ids=torch.zeros(6, 3),
            img_ids=image_ids,
            return_dict=False,
        )[0]
        hook.remove()
        x = x + (sigmas[step + 1] - sigmas[step]) * velocity
    torch.testing.assert_close(actual, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["flux", "dit", "hunyuan"])
def test_peers_on_our_clock_leave_nothing_behind(name: str) -> None:
    case = CASE[name]
    pipe = case.build()
    plain = case.run(pipe)
    for peer in (spectrum.spectrum(pipe, STEPS, 3), seacache.seacache(pipe, 1e9)):
        with peer as handle:
            cached = case.run(pipe)
            with pytest.raises(AlreadyEnabledError):
                zcache.enable(pipe)
        report = handle.report()
        assert torch.isfinite(cached).all() and not torch.equal(cached, plain)
        assert report.forecast_passes > 0 and report.reflect_passes == 0
        assert report.fallbacks == ()
    assert torch.equal(case.run(pipe), plain)


def test_spectrum_with_every_step_full_is_bit_identical() -> None:
    pipe = CASE["flux"].build()
    plain = CASE["flux"].run(pipe)
    with spectrum.spectrum(pipe, STEPS, window=1, flex=0):
        assert torch.equal(CASE["flux"].run(pipe), plain)


# ---- SeaCache --------------------------------------------------------------------------------


def test_without_noise_the_filter_changes_nothing() -> None:
    signal = torch.randn(2, 12, 5, generator=seeded())
    torch.testing.assert_close(seacache.filtered(signal, (3, 4), 1.0, 0.0), signal)


def test_with_much_noise_only_the_mean_of_the_grid_is_left() -> None:
    """The gain at frequency 0 is that of infinite power, 1 / a per axis; elsewhere a / (f^2 b^2) is small beside
    it. Divided by the mean over n cells, the mean of the signal comes out n times as large."""
    signal = torch.randn(1, 16, 3, generator=seeded())
    found = seacache.filtered(signal, (4, 4), 1e-4, 1.0)
    expected = 16 * signal.mean(1, keepdim=True).expand_as(signal)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_gain_of_one_wave_by_hand() -> None:
    """A wave of frequency 1/4 along rows of 4, the other axis constant. S = 4^2 = 16 there and 2^2 = 4 at 1/2, so
    with a = b = 1/sqrt(2) the gains a S / (a^2 S + b^2) = sqrt(2) S / (S + 1) are sqrt(2) times 1, 16/17, 4/5,
    16/17 along each axis; their means multiply, and so do those of the wave: 16/17 and 1."""
    rows = torch.tensor([0.0, 1.0, 0.0, -1.0])[:, None].expand(4, 4)
    found = seacache.filtered(rows.reshape(1, 16, 1), (4, 4), math.sqrt(0.5), math.sqrt(0.5))
    mean = (1 + 16 / 17 + 4 / 5 + 16 / 17) / 4
    torch.testing.assert_close(found, rows.reshape(1, 16, 1) * (16 / 17) / mean**2)


def test_the_scales_of_flow_and_diffusion() -> None:
    flow, ddim = FlowMatchEulerDiscreteScheduler(), DDIMScheduler()
    assert seacache.scales(flow, torch.tensor([0.3])) == pytest.approx((0.7, 0.3))
    assert seacache.scales(flow, torch.tensor([300.0])) == pytest.approx((0.7, 0.3))
    assert seacache.scales(flow, torch.tensor([1.0])) == pytest.approx((1e-6, 1 - 1e-6))
    assert seacache.scales(flow, torch.tensor([0.0])) == pytest.approx((1 - 1e-6, 1e-6))
    a, b = seacache.scales(ddim, torch.tensor(400))
    assert a * a + b * b == pytest.approx(1.0)
    assert a * a == pytest.approx(float(ddim.alphas_cumprod[400]))


def test_the_grid_of_the_tokens() -> None:
    ids = torch.stack(
        torch.meshgrid(torch.arange(1), torch.arange(3), torch.arange(5), indexing="ij"), -1
    )
    config = SimpleNamespace(patch_size=2, patch_size_t=1)
    clip = torch.zeros(1, 4, 3, 8, 6)
    assert seacache.grid({"img_ids": ids.reshape(-1, 3)}, config, 15) == (3, 5)
    assert seacache.grid({"hidden_states": clip}, config, 36) == (3, 4, 3)
    assert seacache.grid({}, config, 49) == (7, 7)
    with pytest.raises(UnsupportedPipelineError, match=r"15 tokens where a grid of \(3, 3\) has 9"):
        seacache.grid({}, config, 15)


def test_seacaches_threshold_decides_how_much_is_computed() -> None:
    counts = []
    for threshold in (1e-9, 0.5, 1e9):
        pipe = CASE["flux"].build()
        with seacache.seacache(pipe, threshold) as handle:
            CASE["flux"].run(pipe)
        counts.append(handle.report().full_steps)
    assert counts[0] == tuple(range(STEPS)) and counts[2] == (0, STEPS - 1)
    assert 2 < len(counts[1]) < STEPS


# ---- DPCache ---------------------------------------------------------------------------------


def curve(steps: int = 9) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, 20)).cumsum(0)


def total(rows: np.ndarray, full: tuple[int, ...], order: int) -> float:
    """The sum of all forecasts' errors, with the step before the older anchor for the third."""
    error = 0.0
    for step in range(len(rows)):
        known = [k for k in full if k <= step]
        if step in full:
            continue
        i, j = known[-2:]
        anchors = [i - 1, i, j] if order == 2 and i > 0 else [i, j]
        factors = bases.taylorseer(anchors, step, order)
        error += float(np.linalg.norm(np.array(factors) @ rows[anchors] - rows[step]))
    return error


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("count", [3, 4, 5, 8, 9])
def test_the_placement_is_the_best_of_all(count: int, order: int) -> None:
    rows = curve()
    found = dpcache.place((rows @ rows.T).tolist(), count, order)
    others = itertools.combinations(range(3, 9), count - 3)
    best = min(total(rows, (0, 1, 2, *more), order) for more in others)
    assert len(found) == count and found[:3] == (0, 1, 2)
    assert total(rows, found, order) == pytest.approx(best)


def test_dpcache_runs_taylorseer_at_its_steps() -> None:
    case = CASE["dit"]
    pipe = case.build()
    plain = case.run(pipe)
    method = methods.parse("dpcache:5", STEPS, lambda pipe: case.run(pipe))
    with method.apply(pipe) as handle:
        first = case.run(pipe)
    report = handle.report()
    assert report.full_passes == 5 and report.full_steps[:3] == (0, 1, 2)
    assert report.reflect_passes == 0 and handle.config.order == 2
    with method.apply(pipe):
        assert torch.equal(case.run(pipe), first)
    assert torch.equal(case.run(pipe), plain)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", ["spectrum:3,flex=0", "dpcache:5,order=1"])
@torch.no_grad()
def test_peers_cache_and_forecast_what_was_published_whatever_our_defaults_do(
    name: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a DiT our defaults cache the output with mild guidance, and forecast along an angle."""
    pipe, call = dit(), dit_arguments(STEPS, guidance=guidance)
    method = methods.parse(name, STEPS, lambda pipe: pipe(**call))
    used: list[tuple[float, ...]] = []
    combine = anchors.combine
    monkeypatch.setattr(
        anchors, "combine", lambda f, factors: used.append(tuple(factors)) or combine(f, factors)
    )

    with method.apply(pipe) as handle:
        pipe(**call)
    report = handle.report()

    own = (
        bases.taylorseer if name.startswith("dpcache") else lambda a, k, _: spectrum.forecast(a, k)
    )
    expected = []
    for step in range(STEPS):
        known = [full for full in report.full_steps if full < step]
        if step not in report.full_steps:
            expected.append(own(known, step, 1))
    assert report.granularity == "stack"
    assert used == [pytest.approx(factors) for factors in expected]


# ---- their names -----------------------------------------------------------------------------


def test_names_carry_their_settings() -> None:
    pipe = CASE["flux"].build()
    with methods.parse("spectrum:3,flex=0.5,ridge=0.01,weight=1", STEPS).apply(pipe) as handle:
        assert handle.config.full_steps == spectrum.growing(STEPS, 3, 0.5)
    with methods.parse("seacache:0.3", STEPS).apply(pipe) as handle:
        assert handle.config.threshold == 0.3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("spectrum:0", "window is 0"),
        ("spectrum:2,flex=-1", "flex -1"),
        ("spectrum:2,lam=1", "setting 'lam=1' is unknown"),
        ("seacache:x", "'x' where a number stands"),
        ("seacache:0", "threshold is 0.0"),
        ("dpcache:2", "2 full steps of 12; give a number from 3 to 12"),
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        methods.parse(name, STEPS)


def test_peers_join_the_comparison_at_equal_cost() -> None:
    names = methods.expand(["equal:5"], "mini-flux", 50)
    full = len(zcache.ZCacheConfig(5).plan(50).full_steps)
    assert f"dpcache:{full}" in names
    name = next(name for name in names if name.startswith("spectrum"))
    flex = float(name.partition("flex=")[2])
    assert len(spectrum.growing(50, 2, flex)) <= full
