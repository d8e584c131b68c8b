"""Videos made in one go or segment by segment: EasyAnimate, Wan-Animate, Kandinsky 6."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
from PIL import Image

from .family import Family, assembled, flow, made, noise, prompts
from .video import unipc, wan_transformer, wan_vae
from .world import hunyuan_vae


def easy_animate(pipeline: type = d.EasyAnimatePipeline, **config: Any) -> Any:
    transformer = made(
        d.EasyAnimateTransformer3DModel,
        **{
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 4,
            "patch_size": 2,
            "num_layers": 2,
            "mmdit_layers": 1,
            "time_embed_dim": 4,
            "text_embed_dim": 16,
            **config,
        },
    )
    vae = made(
        d.AutoencoderKLMagvit,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("SpatialDownBlock3D",) + ("SpatialTemporalDownBlock3D",) * 3,
        up_block_types=("SpatialUpBlock3D",) + ("SpatialTemporalUpBlock3D",) * 3,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        spatial_group_norm=False,
    )
    return assembled(pipeline, transformer, flow(5.0), vae=vae)


def easy_animate_arguments(**more: Any) -> dict[str, Any]:
    size = {"height": 32, "width": 32, "num_frames": 5}
    return prompts(16, "prompt_attention_mask", **{**size, **more})


def pictures(count: int, size: int) -> list[Image.Image]:
    return [Image.new("RGB", (size, size), (20 * i, 90, 200)) for i in range(count)]


def wan_animate() -> Any:
    transformer = wan_transformer(
        d.WanAnimateTransformer3DModel,
        in_channels=12,
        latent_channels=4,
        image_dim=16,
        added_kv_proj_dim=24,
        motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8},
        motion_encoder_size=16,
        motion_style_dim=8,
        motion_dim=4,
        motion_encoder_dim=16,
        face_encoder_hidden_dim=16,
        face_encoder_num_heads=2,
        inject_face_latents_blocks=2,
    )
    pipe = assembled(d.WanAnimatePipeline, transformer, unipc(), vae=wan_vae())
    pipe.encode_image = lambda image, device: noise(7, 1, 4, 16)
    return pipe


def wan_animate_arguments(frames: int = 5, **more: Any) -> dict[str, Any]:
    return prompts(
        16,
        height=32,
        width=32,
        guidance_scale=3.0,
        image=pictures(1, 32)[0],
        pose_video=pictures(frames, 32),
        face_video=pictures(frames, 16),
        segment_frame_length=5,
        **more,
    )


def kandinsky6(scheduler: Any = None, predictions: int = 1) -> Any:
    transformer = made(
        d.Kandinsky6Transformer3DModel,
        in_visual_dim=4,
        out_visual_dim=4 * predictions,
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        model_dim=12,
        ff_dim=24,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(2, 2, 2),
        in_audio_dim=3,
        out_audio_dim=3,
        text_token_padding=True,
        ca_rope=True,
        cross_gates=True,
        fix_modulation=True,
        visual_token_type_num_embeddings=2,
    )
    scheduler = scheduler or flow(5.0)
    pipe = assembled(d.Kandinsky6TI2VAPipeline, transformer, scheduler, vae=hunyuan_vae())
    pipe.audio_vae = pipe.vocoder = SimpleNamespace()
    return pipe


def kandinsky6_arguments(**more: Any) -> dict[str, Any]:
    pooled = {f"{prefix}pooled_prompt_embeds": noise(11, 1, 16) for prefix in ("", "negative_")}
    return prompts(16, height=32, width=32, num_frames=5, **pooled, **more)


FAMILIES = (
    Family("easy-animate", easy_animate, easy_animate_arguments),
    Family("wan-animate", wan_animate, wan_animate_arguments),
    Family("kandinsky6", kandinsky6, kandinsky6_arguments, partly=True),
    Family("kandinsky6-mute", kandinsky6, lambda: kandinsky6_arguments(sample_audio=False)),
    Family(
        "kandinsky6-piflow",
        lambda: kandinsky6(d.PiflowScheduler(n_grid=3, num_policy_substeps=16), predictions=3),
        lambda: kandinsky6_arguments(sample_audio=False, guidance_scale=1.0),
    ),
    Family(
        "kandinsky6-i2v",
        kandinsky6,
        lambda: kandinsky6_arguments(sample_audio=False, image=pictures(1, 32)[0]),
    ),
)
