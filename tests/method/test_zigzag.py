"""The page that tells the method gives what the product gives inside unmodified pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import zcache
from zcache import ConfigError, ZCacheConfig
from zcache.method import guided
from zcache.method.abscissa import positions, share_of_angle
from zcache.method.zigzag import zigzag

from .. import oracle
from ..pipelines import STEPS, dit, dit_arguments, flux, flux_arguments, seeded

SETTINGS = {
    "paper": {"relax": None},
    "default": {"relax": 0.8},
    "sigma": {"relax": "sigma"},
    "time": {},
    "long windows": {"full_steps": [0, 1, 4, 11]},
    "short windows": {"full_steps": [0, 1, 2, 3, 4, 6, 8, 10, 11]},
    "order 2": {"relax": None, "order": 2},
    "fora": {"base": "fora", "weight": "linear", "relax": None},
    "teacache": {"base": "teacache", "relax": 0.8, "full_steps": [0, 4, 9, 11]},
    "hicache": {"base": "hicache", "order": 2, "relax": None},
    "foca": {"base": "foca", "relax": 0.8},
    "spectrum": {"base": "spectrum", "interval": 2, "relax": None},
    "no reflection": {"reflect": False},
    "warm-up": {"placement": "warmup", "relax": None},
    "tail": {"last_full": False, "relax": 0.8},
    "some windows": {"first_window": False, "last_window": False, "interval": 3},
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
CLOSE = {"rtol": 0, "atol": 1e-5}


def with_features(granularity: str, transformer: Any) -> Callable[[dict, Any], tuple[Any, Any]]:
    """The denoiser of a plain loop: in full where no feature is given, else from the feature."""

    def output(arguments: dict, feature: Any) -> tuple[Any, Any]:
        if feature is not None:
            return feature, feature
        made = transformer(**arguments, return_dict=False)[0]
        return made, made

    def stack(arguments: dict, feature: Any) -> tuple[Any, Any]:
        return oracle.run_stack(transformer, arguments, feature)

    return {"output": output, "stack": stack}[granularity]


@pytest.mark.parametrize("granularity", ["output", "stack"])
@pytest.mark.parametrize("base", ["automatic", "taylorseer", "fora"])
@pytest.mark.parametrize("settled", [0.3, 1.0])  # from a time of 0.7 on, or never
def test_it_equals_the_product_on_flux_where_outputs_turn_far(
    settled: float, base: str, granularity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guided, "MOST_TURNED_TOLD", 0.0)
    monkeypatch.setattr(guided, "SETTLED", settled)
    test_it_equals_the_product_on_flux(granularity, {"base": base})


@every_setting
@pytest.mark.parametrize("granularity", ["output", "stack"])
@torch.no_grad()
def test_it_equals_the_product_on_flux(granularity: str, settings: dict[str, Any]) -> None:
    config = ZCacheConfig(**{"interval": 4, **settings}, granularity=granularity)
    pipe = flux()
    with zcache.enabled(pipe, config) as handle:
        actual = pipe(**flux_arguments(STEPS), return_dict=False)[0]
    assert all("the outputs turn by" in reason for reason in handle.report().fallbacks)

    plain, given = flux(), flux_arguments(STEPS)
    run = with_features(granularity, plain.transformer)
    latent, image_ids = plain.prepare_latents(1, 1, 16, 16, torch.float32, "cpu", seeded())
    sigmas = [*pipe.scheduler.timesteps.div(1000).tolist(), 0.0]

    def denoise(step: int, x: Any, feature: Any) -> tuple[Any, Any]:
        arguments = {
            "hidden_states": x,
            "timestep": torch.tensor([sigmas[step]]),
            "guidance": torch.full([1], 3.5),
            "encoder_hidden_states": given["prompt_embeds"],
            "pooled_projections": given["pooled_prompt_embeds"],
            "txt_ids": torch.zeros(6, 3),
            "img_ids": image_ids,
        }
        return run(arguments, feature)

    def euler(step: int, velocity: Any, x: Any) -> Any:
        return x + (sigmas[step + 1] - sigmas[step]) * velocity

    torch.testing.assert_close(
        zigzag(denoise, euler, latent, STEPS, config, sigmas, sigmas[:-1], guided=True),
        actual,
        **CLOSE,
    )


@pytest.mark.parametrize(
    ("window", "scale", "level", "base"),
    [
        (2, 3.0, 5.0, "damped"),
        (4, 3.0, 5.0, "fora"),
        (2, 7.0, 5.0, "damped"),
        (3, 7.0, 5.0, "fora"),
        (4, 2.0, 5.0, "damped"),
        (4, 2.0, 0.0, "fora"),
        (4, 1.0, 5.0, "damped"),
        (4, 1.0, 0.0, "fora"),
    ],
)
def test_the_base_of_a_guided_flow_is_by_its_time(
    window: int, scale: float, level: float, base: str
) -> None:
    """Windows of 0.048, 0.071 or 0.095 of the time early, then one of twice as long; 0.18 / (g - 1) are right, 0.09
    and 0.18, at least 0.07, and more where the denoiser is told, unless outputs turn: here as sin(k) beside a level
    of 5, or alone."""
    full = [*range(0, 5 * window, window), 6 * window]
    times = [1 - step / 42 for step in range(42)]

    def drawn(base: str) -> float:
        config = ZCacheConfig(full_steps=full, base=base)
        return zigzag(
            denoise,
            lambda k, v, x: x - v / 42,
            1.0,
            42,
            config,
            (),
            times,
            guided=True,
            scale=scale,
        )

    def denoise(step: int, x: float, feature: float | None) -> tuple[float, float]:
        feature = level + math.sin(step) if feature is None else feature
        return x * feature, feature

    others = {"taylorseer", "damped", "fora"} - {base}
    assert drawn("automatic") == drawn(base)
    assert all(drawn("automatic") != drawn(other) for other in others)


def test_of_a_strongly_guided_flow_a_quarter_is_kept() -> None:
    """With a scale of 7 windows of 0.048 of the time would keep 0.2 / 6^2 / 0.048 = 0.12 of it."""
    times = [1 - step / 42 for step in range(43)]

    def drawn(relax: str | float, scale: float) -> float:
        config = ZCacheConfig(full_steps=range(0, 42, 2), base="damped", relax=relax)
        return zigzag(
            lambda k, x, feature: (x * (feature or math.sin(k)), feature or math.sin(k)),
            lambda k, v, x: x - v / 42,
            1.0,
            42,
            config,
            times,
            times[:-1],
            guided=True,
            scale=scale,
        )

    assert drawn("time", 7.0) == drawn(0.25, 7.0) != drawn("time", 1.0)


@every_setting
@torch.no_grad()
def test_it_equals_the_product_on_dit(settings: dict[str, Any]) -> None:
    config = ZCacheConfig(**{"interval": 4, **settings}, granularity="stack")
    pipe, seen = dit(), []
    decode = pipe.vae.decode
    pipe.vae.decode = lambda latent: seen.append(latent) or decode(latent)
    with zcache.enabled(pipe, config) as handle:
        pipe(**dit_arguments(STEPS, guidance=1.0))
    assert all("identity" in reason for reason in handle.report().fallbacks)

    plain = dit()
    run = with_features("stack", plain.transformer)
    times = [step * (1000 // STEPS) for step in reversed(range(STEPS))]
    alphas = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)
    levels = [float(((1 - alphas[t]) / alphas[t]).sqrt()) for t in times]
    if config.relax == "time":
        levels = [s / (1 + s) for s in levels]

    def denoise(step: int, x: Any, feature: Any) -> tuple[Any, Any]:
        labels, timestep = torch.tensor([1]), torch.tensor([times[step]])
        arguments = {"hidden_states": x, "timestep": timestep, "class_labels": labels}
        output, feature = run(arguments, feature)
        return output[:, :4], feature

    def ddim(step: int, noise: Any, x: Any) -> Any:
        a = alphas[times[step]]
        b = alphas[times[step + 1]] if step + 1 < STEPS else alphas[0] ** 0
        return b.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise

    latent = torch.randn(1, 4, 8, 8, generator=seeded())
    by_time = [s / (1 + s) for s in (float(((1 - alphas[t]) / alphas[t]).sqrt()) for t in times)]
    places = positions(by_time) if share_of_angle(config, noise=True) else ()
    found = zigzag(denoise, ddim, latent, STEPS, config, levels, diffusion=True, positions=places)
    expected = (
        seen[0] * pipe.vae.config.scaling_factor
    )  # the latents of random weights are near 100
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def by_numbers(config: ZCacheConfig, steps: int = 12) -> tuple[float, list[tuple[int, bool]]]:
    """A run on plain floats whose model output is the step's number, and the denoiser calls made."""
    calls = []

    def denoise(step: int, x: float, feature: float | None) -> tuple[float, float]:
        calls.append((step, feature is None))
        made = float(step) if feature is None else feature
        return made, made

    found = zigzag(denoise, lambda step, output, x: x + output, 0.0, steps, config)
    return found, calls


def test_what_is_linear_in_the_steps_is_exact_from_the_second_anchor_on() -> None:
    """0 + 1 + ... + 11 = 66. Before the second anchor nothing but reuse of step 0 is possible; going
    back with w = 1 mends that window, too, and at its end all of the correction is kept."""
    assert by_numbers(ZCacheConfig(interval=1))[0] == 66.0
    mended = ZCacheConfig(interval=4, weight="future", relax=None)
    assert by_numbers(mended)[0] == pytest.approx(66.0)
    left = mended.replace(first_window=False)
    assert by_numbers(left)[0] == pytest.approx(66.0 - 1 - 2 - 3)
    assert by_numbers(mended.replace(relax=0.5))[0] == pytest.approx(66.0 - (1 + 2 + 3) / 2)


def test_every_visit_of_the_walk_is_one_call_and_full_ones_are_the_anchors() -> None:
    config = ZCacheConfig(interval=4)
    _, calls = by_numbers(config)
    walk = config.plan(12).walk
    assert [step for step, _ in calls] == [visit.step for visit in walk]
    assert tuple(step for step, full in calls if full) == config.plan(12).full_steps


def test_a_schedule_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="interval 13 is above the 12"):
        by_numbers(ZCacheConfig(interval=13))


@pytest.mark.parametrize("base", ["automatic", "taylorseer", "fora"])
def test_without_noise_levels_all_of_a_guided_flow_is_kept(base: str) -> None:
    def denoise(step: int, latent: float, feature: float | None) -> tuple[float, float]:
        made = math.sin(latent + step) if feature is None else feature
        return made, made

    def advance(step: int, output: float, latent: float) -> float:
        return latent - output / STEPS

    config = ZCacheConfig(interval=4, base=base)
    found, wanted = (
        zigzag(denoise, advance, 0.5, STEPS, each, guided=True)
        for each in (config, config.replace(relax=None))
    )
    assert found == wanted


@pytest.mark.parametrize(("scale", "reflected"), [(5.5, False), (4.0, True), (1.0, True)])
def test_few_full_steps_of_a_strongly_guided_diffusion_are_not_reflected(
    scale: float, reflected: bool
) -> None:
    """4/3 (5.5 - 1) = 6 of them are wanted, and 4/3 (4 - 1) = 4 are there."""

    def denoise(step: int, latent: float, feature: float | None) -> tuple[float, float]:
        made = math.sin(latent + step) if feature is None else feature
        return made, made

    config = ZCacheConfig(full_steps=(0, 4, 8, 11))

    def found(config: ZCacheConfig, **facts: Any) -> float:
        return zigzag(denoise, lambda k, v, x: x - v / STEPS, 0.5, STEPS, config, **facts)

    alone = found(config.replace(reflect=False), diffusion=True)
    assert (found(config, diffusion=True, scale=scale) == alone) == (not reflected)
    assert found(config, scale=scale) != alone
    for relax in ("sigma", 0.5, None):
        assert found(config.replace(relax=relax), diffusion=True, scale=scale) != alone
