"""Reflection inside `scheduler.step` equals the unrolled path, written out in oracle.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor

import zcache
from zcache import ZCacheConfig

from .. import oracle
from ..pipelines import BY_NAME, STEPS, Case, seeded

FULL_STEPS = {"even": (0, 4, 7, 11), "open tail": (0, 1, 5, 9), "adjacent": (0, 3, 4, 5, 10)}
CLOSE = {"rtol": 0, "atol": 1e-5}


def check(case: Case, config: ZCacheConfig, by_hand: Any) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, config) as handle:
        actual = case.run(pipe)
    assert handle.report().fallbacks == ()
    torch.testing.assert_close(actual, by_hand(case.build(), config), **CLOSE)


def relaxing(levels: list[float], relax: Any) -> Callable[[int, int], float]:
    """The share of a correction that is kept, 2 sigma_stop / (sigma_start + sigma_stop) where the
    noise levels decide."""
    if relax == "sigma":
        return lambda start, stop: 2 * levels[stop] / (levels[start] + levels[stop])
    return lambda start, stop: 1.0 if relax is None else relax


def flow_levels(scheduler: Any) -> list[float]:
    """Flow matching calls its sigma times 1000 the timestep."""
    return [float(timestep) / 1000 for timestep in scheduler.timesteps]


def ddim_levels(scheduler: Any) -> list[float]:
    """sigma / alpha, alpha^2 the product of 1 - beta up to the timestep, beta from 0.0001 to 0.02."""
    kept = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    return [float(((1 - kept[t]) / kept[t]) ** 0.5) for t in scheduler.timesteps.tolist()]


@torch.no_grad()
def flux_by_hand(arguments: dict[str, Any]) -> Any:
    def sampled(pipe: FluxPipeline, config: ZCacheConfig) -> Tensor:
        batch = arguments["prompt_embeds"].shape[0]
        latent, image_ids = pipe.prepare_latents(batch, 1, 16, 16, torch.float32, "cpu", seeded())
        sigmas = torch.linspace(1, 1 / STEPS, STEPS).numpy()
        tokens = latent.shape[1]
        mu = 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)
        pipe.scheduler.set_timesteps(STEPS, sigmas=sigmas, mu=mu)
        scheduler = pipe.scheduler

        def calls(step: int, x: Tensor) -> list[dict[str, Any]]:
            shared = {
                "hidden_states": x,
                "timestep": scheduler.timesteps[step].expand(batch) / 1000,
                "guidance": torch.full([batch], 3.5),
                "txt_ids": torch.zeros(6, 3),
                "img_ids": image_ids,
            }
            prefixes = ["", "negative_"] if "true_cfg_scale" in arguments else [""]
            return [
                {
                    **shared,
                    "encoder_hidden_states": arguments[f"{prefix}prompt_embeds"],
                    "pooled_projections": arguments[f"{prefix}pooled_prompt_embeds"],
                }
                for prefix in prefixes
            ]

        def combine(outputs: list[Tensor]) -> Tensor:
            if len(outputs) == 1:
                return outputs[0]
            return outputs[1] + arguments["true_cfg_scale"] * (outputs[0] - outputs[1])

        def advance(step: int, velocity: Tensor, x: Tensor) -> Tensor:
            return x + (scheduler.sigmas[step + 1] - scheduler.sigmas[step]) * velocity

        return oracle.sample(
            pipe.transformer, calls, combine, advance, latent, STEPS, config.full_steps,
            config.granularity == "module", relaxing(flow_levels(scheduler), config.relax), config.order,
        )  # fmt: skip

    return torch.no_grad()(sampled)


@torch.no_grad()
def hunyuan_by_hand(arguments: dict[str, Any]) -> Any:
    def sampled(pipe: Any, config: ZCacheConfig) -> Tensor:
        condition = pipe.transformer.config.image_condition_type
        if condition is None:
            latent = pipe.prepare_latents(1, 4, 16, 16, 5, torch.float32, "cpu", seeded())
        else:
            image = pipe.video_processor.preprocess(arguments["image"], 16, 16)
            latent, given = pipe.prepare_latents(
                image, 1, 4, 16, 16, 5, torch.float32, "cpu", seeded(), None, condition
            )
        if condition == "token_replace":
            latent = latent[:, :, 1:]  # the first frame is given, and never denoised
        if condition == "latent_concat":
            first = torch.zeros(1, 1, *given.shape[2:])
            first[:, :, 0] = 1
            beside = torch.cat([given * first, first], dim=1)
        scheduler = pipe.scheduler
        scheduler.set_timesteps(sigmas=torch.linspace(1, 0, STEPS + 1)[:-1].numpy())

        def calls(step: int, x: Tensor) -> list[dict[str, Any]]:
            if condition == "token_replace":
                x = torch.cat([given, x], dim=2)
            elif condition == "latent_concat":
                x = torch.cat([x, beside], dim=1)
            shared = {
                "hidden_states": x,
                "timestep": scheduler.timesteps[step].expand(1),
                "guidance": None if condition == "latent_concat" else torch.tensor([4500.0]),
            }
            prefixes = ["", "negative_"] if "true_cfg_scale" in arguments else [""]
            return [
                {
                    **shared,
                    "encoder_hidden_states": arguments[f"{prefix}prompt_embeds"],
                    "encoder_attention_mask": arguments[f"{prefix}prompt_attention_mask"],
                    "pooled_projections": arguments[f"{prefix}pooled_prompt_embeds"],
                }
                for prefix in prefixes
            ]

        def combine(outputs: list[Tensor]) -> Tensor:
            if condition == "token_replace":
                outputs = [output[:, :, 1:] for output in outputs]
            if len(outputs) == 1:
                return outputs[0]
            return outputs[1] + arguments["true_cfg_scale"] * (outputs[0] - outputs[1])

        def advance(step: int, velocity: Tensor, x: Tensor) -> Tensor:
            return x + (scheduler.sigmas[step + 1] - scheduler.sigmas[step]) * velocity

        latent = oracle.sample(
            pipe.transformer, calls, combine, advance, latent, STEPS, config.full_steps,
            config.granularity == "module", relaxing(flow_levels(scheduler), config.relax), config.order,
        )  # fmt: skip
        if condition == "token_replace":
            return torch.cat([given, latent], dim=2)
        return latent[:, :, 1:] if condition == "latent_concat" else latent

    return torch.no_grad()(sampled)


def dit_by_hand(arguments: dict[str, Any]) -> Any:
    def sampled(pipe: Any, config: ZCacheConfig) -> Tensor:
        labels, scale = arguments["class_labels"], arguments["guidance_scale"]
        count = len(labels)
        latent = torch.randn(count, 4, 8, 8, generator=seeded())
        guided = scale > 1
        latent = torch.cat([latent] * 2) if guided else latent
        classes = torch.tensor(labels + [1000] * count if guided else labels)
        scheduler = pipe.scheduler
        scheduler.set_timesteps(STEPS)
        kept = scheduler.alphas_cumprod

        def calls(step: int, x: Tensor) -> list[dict[str, Any]]:
            timestep = scheduler.timesteps[step].expand(x.shape[0])
            return [{"hidden_states": x, "timestep": timestep, "class_labels": classes}]

        def combine(outputs: list[Tensor]) -> Tensor:
            noise = outputs[0][:, :4]
            if not guided:
                return noise
            cond, uncond = noise.chunk(2)
            half = uncond + scale * (cond - uncond)
            return torch.cat([half, half])

        def advance(step: int, noise: Tensor, x: Tensor) -> Tensor:
            """DDIM with eta 0 (Song et al. 2021, formula 12)."""
            t = int(scheduler.timesteps[step])
            before = t - 1000 // STEPS
            a, b = kept[t], kept[before] if before >= 0 else torch.tensor(1.0)
            clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
            return b.sqrt() * clean + (1 - b).sqrt() * noise

        latent = oracle.sample(
            pipe.transformer, calls, combine, advance, latent, STEPS, config.full_steps,
            config.granularity == "module", relaxing(ddim_levels(scheduler), config.relax), config.order,
        )  # fmt: skip
        latent = latent.chunk(2)[0] if guided else latent
        decoded = pipe.vae.decode(latent / pipe.vae.config.scaling_factor).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    return torch.no_grad()(sampled)


BY_HAND = {
    "flux": flux_by_hand,
    "hunyuan": hunyuan_by_hand,
    "i2v": hunyuan_by_hand,
    "dit": dit_by_hand,
}
NAMES = (
    "flux",
    "flux-true-cfg",
    "flux-batch",
    "hunyuan",
    "hunyuan-true-cfg",
    "i2v-replace",
    "i2v-replace-true-cfg",
    "i2v-concat",
    "dit",
    "dit-two-labels",
)


LOGARITHMIC = {"base": "taylorseer", "weight": "logarithmic"}  # as written out by hand
FLOW_SETTINGS = [{"relax": None}, {"relax": "sigma"}, {"relax": 0.8}]
DIT_SETTINGS = [
    *FLOW_SETTINGS,
    {"relax": None, "order": 2},
]


@pytest.mark.parametrize("full", FULL_STEPS.values(), ids=FULL_STEPS)
@pytest.mark.parametrize("granularity", ["stack", "module"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (name, settings)
        for name in NAMES
        for settings in (DIT_SETTINGS if name.startswith("dit") else FLOW_SETTINGS)
    ],
    ids=str,
)
def test_replay_equals_the_unrolled_path(
    name: str, settings: dict[str, Any], granularity: str, full: tuple[int, ...]
) -> None:
    case = BY_NAME[name]
    by_hand = BY_HAND[name.split("-")[0]](case.arguments(STEPS))
    own = {"full_steps": full, "granularity": granularity, **LOGARITHMIC, **settings}
    check(case, ZCacheConfig(**own), by_hand)
