"""Pictures: the families whose blocks or head see image and text tokens as one sequence, and others."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch

from ...pipelines import flow_scheduler, seeded, tiny_vae
from .family import TEXT, Family, assembled, flow, made, noise, prompts

ROPE = {"attention_head_dim": 16, "num_attention_heads": 2}
SIZE = {"height": 32, "width": 32}


def z_image(**config: Any) -> Any:
    transformer = made(
        d.ZImageTransformer2DModel,
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
        **config,
    )
    with torch.no_grad():
        transformer.x_pad_token.fill_(1)
        transformer.cap_pad_token.fill_(1)
    return assembled(d.ZImagePipeline, transformer)


def z_image_arguments(**more: Any) -> dict[str, Any]:
    return {
        "prompt_embeds": [noise(1, TEXT, 16)],
        "negative_prompt_embeds": [noise(2, TEXT, 16)],
        "generator": seeded(),
        "output_type": "latent",
        "guidance_scale": 4.0,
        "height": 64,
        "width": 64,
        **more,
    }


def krea2() -> Any:
    transformer = made(
        d.Krea2Transformer2DModel,
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=16,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=16,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 4, 8),
    )
    return assembled(
        d.Krea2Pipeline, transformer, flow_scheduler(), text_encoder_select_layers=(0, 1)
    )


def krea2_arguments() -> dict[str, Any]:
    arguments = prompts(16, "prompt_embeds_mask", dtype=torch.bool, guidance_scale=4.0, **SIZE)
    arguments["prompt_embeds"] = noise(1, 1, TEXT, 2, 16)
    arguments["negative_prompt_embeds"] = noise(2, 1, TEXT, 2, 16)
    return arguments


def longcat() -> Any:
    transformer = made(
        d.LongCatImageTransformer2DModel,
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        **{**ROPE, "axes_dims_rope": [4, 4, 8]},
    )
    pipe = assembled(d.LongCatImagePipeline, transformer, flow_scheduler())
    pipe.encode_prompt = without_prompt(pipe.encode_prompt)
    return pipe


def without_prompt(encode: Any) -> Any:
    """The pipeline counts the prompts even where their embeddings are given."""
    return lambda prompt=None, **given: encode(prompt or [""], **given)


def aura_flow() -> Any:
    transformer = made(
        d.AuraFlowTransformer2DModel,
        sample_size=8,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pos_embed_max_size=64,
    )
    return assembled(d.AuraFlowPipeline, transformer)


def lumina2() -> Any:
    transformer = made(
        d.Lumina2Transformer2DModel,
        sample_size=8,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(128, 128, 128),
        cap_feat_dim=32,
    )
    return assembled(d.Lumina2Pipeline, transformer, vae=tiny_vae(4))


def lumina2_arguments(**more: Any) -> dict[str, Any]:
    return prompts(
        32, "prompt_attention_mask", dtype=torch.bool, guidance_scale=4.0, **{**SIZE, **more}
    )


def hidream() -> Any:
    transformer = made(
        d.HiDreamImageTransformer2DModel,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=[32, 16],
        text_emb_dim=64,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(32, 32),
        llama_layers=(0, 1, 0, 1),
        force_inference_output=True,
    )
    pipe = assembled(d.HiDreamImagePipeline, transformer, vae=tiny_vae(4))
    pipe.default_sample_size = 8  # the pipeline scales every size to this area
    return pipe


def hidream_arguments(**more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "generator": seeded(),
        "output_type": "latent",
        "guidance_scale": 4.0,
    }
    for seed, prefix in ((1, ""), (2, "negative_")):
        arguments[f"{prefix}prompt_embeds_t5"] = noise(seed, 1, TEXT, 32)
        arguments[f"{prefix}prompt_embeds_llama3"] = noise(seed + 10, 2, 1, TEXT, 16)
        arguments[f"{prefix}pooled_prompt_embeds"] = noise(seed + 20, 1, 64)
    return {**arguments, **SIZE, **more}


def hunyuan_image(guider: Any = None) -> Any:
    transformer = made(
        d.HunyuanImageTransformer2DModel,
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=(1, 1),
        text_embed_dim=32,
        text_embed_2_dim=32,
        rope_axes_dim=(4, 4),
    )
    return assembled(
        d.HunyuanImagePipeline,
        transformer,
        flow(7.0),
        guider=guider or d.ClassifierFreeGuidance(4.0),
    )


def hunyuan_image_arguments() -> dict[str, Any]:
    arguments = prompts(32, "prompt_embeds_mask", height=128, width=128)
    for seed, prefix in ((3, ""), (4, "negative_")):
        arguments[f"{prefix}prompt_embeds_2"] = noise(seed, 1, 5, 32)
        arguments[f"{prefix}prompt_embeds_mask_2"] = torch.ones(1, 5)
    return arguments


FAMILIES = (
    Family("z-image", z_image, z_image_arguments),
    Family(
        "z-image-turbo",
        z_image,
        lambda: z_image_arguments(guidance_scale=0.0),
    ),
    Family("krea2", krea2, krea2_arguments),
    Family(
        "longcat-image",
        longcat,
        lambda: prompts(32, enable_prompt_rewrite=False, enable_cfg_renorm=False, **SIZE),
    ),
    Family(
        "longcat-image-renormed",
        longcat,
        lambda: prompts(32, enable_prompt_rewrite=False, **SIZE),
    ),
    Family(
        "auraflow", aura_flow, lambda: prompts(32, "prompt_attention_mask", height=64, width=64)
    ),
    Family("lumina2", lumina2, lumina2_arguments),
    Family("lumina2-plain", lumina2, lambda: lumina2_arguments(cfg_normalization=False)),
    Family("hidream", hidream, hidream_arguments),
    Family("hidream-wide", hidream, lambda: hidream_arguments(height=32, width=64)),
    Family("hunyuan-image", hunyuan_image, hunyuan_image_arguments),
    Family(
        "hunyuan-image-projected",
        lambda: hunyuan_image(d.AdaptiveProjectedMixGuidance(enabled=True)),
        hunyuan_image_arguments,
        partly=True,
    ),
)
