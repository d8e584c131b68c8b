"""Pictures: the families whose image tokens look at the text by cross-attention, and CogView."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch

from ...pipelines import dit, dit_arguments, tiny_vae
from .family import Family, assembled, made, noise, prompts, zero_snr

SMALL = {"height": 32, "width": 32}
UNBINNED = {"use_resolution_binning": False}


def pixart(pipeline: type = d.PixArtSigmaPipeline, scheduler: Any = None) -> Any:
    transformer = made(
        d.PixArtTransformer2DModel,
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=24,
        use_additional_conditions=False,
    )
    scheduler = scheduler or d.DDIMScheduler(clip_sample=False)
    return assembled(pipeline, transformer, scheduler, vae=tiny_vae(4))


def pixart_with(scheduler: type, **config: Any) -> Any:
    return lambda: pixart(scheduler=scheduler(**config))


def pixart_arguments() -> dict[str, Any]:
    return prompts(32, "prompt_attention_mask", negative_prompt=None, height=8, width=8, **UNBINNED)


def sana(pipeline: type = d.SanaPipeline, scheduler: Any = None, **config: Any) -> Any:
    transformer = made(
        d.SanaTransformer2DModel,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=8,
        **config,
    )
    return assembled(pipeline, transformer, scheduler)


def sana_arguments() -> dict[str, Any]:
    return prompts(
        8, "prompt_attention_mask", negative_prompt=None, height=128, width=128, **UNBINNED
    )


def hunyuan_dit(pipeline: type = d.HunyuanDiTPipeline) -> Any:
    transformer = made(
        d.HunyuanDiT2DModel,
        sample_size=4,
        num_layers=4,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        hidden_size=24,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        text_len=7,
        text_len_t5=7,
        use_style_cond_and_image_meta_size=False,
        activation_fn="gelu-approximate",
    )
    return assembled(
        pipeline,
        transformer,
        d.DDIMScheduler(clip_sample=False),
        vae=tiny_vae(4),
        requires_safety_checker=False,
    )


def hunyuan_dit_arguments(**more: Any) -> dict[str, Any]:
    arguments = prompts(32, "prompt_attention_mask", height=16, width=16, **UNBINNED, **more)
    for seed, prefix in ((3, ""), (4, "negative_")):
        arguments[f"{prefix}prompt_embeds_2"] = noise(seed, 1, 7, 32)
        arguments[f"{prefix}prompt_attention_mask_2"] = torch.ones(1, 7)
    return arguments


def cogview3() -> Any:
    transformer = made(
        d.CogView3PlusTransformer2DModel,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=4,
        num_attention_heads=2,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=8,
        condition_dim=2,
        pos_embed_max_size=8,
        sample_size=8,
    )
    return assembled(d.CogView3PlusPipeline, transformer, zero_snr(4.0), vae=tiny_vae(4))


def cogview4() -> Any:
    transformer = made(
        d.CogView4Transformer2DModel,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=8,
        condition_dim=4,
        rope_axes_dim=(8, 8),
    )
    return assembled(d.CogView4Pipeline, transformer, vae=tiny_vae(4))


def prx() -> Any:
    transformer = made(
        d.PRXTransformer2DModel,
        in_channels=4,
        patch_size=2,
        context_in_dim=8,
        hidden_size=16,
        mlp_ratio=2.0,
        num_heads=2,
        depth=2,
        axes_dim=[4, 4],
    )
    return assembled(d.PRXPipeline, transformer, vae=tiny_vae(4))


def prx_arguments() -> dict[str, Any]:
    return prompts(
        8, "prompt_attention_mask", dtype=torch.bool, negative_prompt=None, guidance_scale=4.0,
        **SMALL, **UNBINNED,
    )  # fmt: skip


FAMILIES = (
    Family("dit", dit, lambda: dit_arguments(8)),
    Family("pixart-alpha", lambda: pixart(d.PixArtAlphaPipeline), pixart_arguments),
    Family("pixart-sigma", pixart, pixart_arguments),
    Family("pixart-dpm++", pixart_with(d.DPMSolverMultistepScheduler), pixart_arguments),
    Family(
        "pixart-sde-dpm++",
        pixart_with(d.DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"),
        pixart_arguments,
    ),
    Family("pixart-ddpm", pixart_with(d.DDPMScheduler, clip_sample=False), pixart_arguments),
    Family(
        "pixart-lcm", pixart_with(d.LCMScheduler, original_inference_steps=50), pixart_arguments
    ),
    Family("sana", sana, sana_arguments),
    Family("hunyuan-dit", hunyuan_dit, hunyuan_dit_arguments),
    Family("cogview3-plus", cogview3, lambda: prompts(32, height=16, width=16)),
    Family("cogview4", cogview4, lambda: prompts(32, height=16, width=16)),
    Family("prx", prx, prx_arguments),
)
