"""Videos made in one go or segment by segment: EasyAnimate, Wan-Animate, Kandinsky 6."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
from PIL import Image

from ...pipelines import seeded
from .family import Family, assembled, flow, made, noise, prompts
from .video import unipc, wan_arguments, wan_transformer, wan_vae
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


def helios() -> Any:
    transformer = made(
        d.HeliosTransformer3DModel,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_dim=(4, 4, 4),
    )
    scheduler = d.HeliosScheduler(stages=1, use_dynamic_shifting=True)
    return assembled(d.HeliosPipeline, transformer, scheduler, vae=wan_vae())


def helios_arguments(**more: Any) -> dict[str, Any]:
    size = {"height": 32, "width": 32, "num_frames": 5, "num_latent_frames_per_chunk": 2}
    return prompts(16, guidance_scale=3.0, history_sizes=[4, 2, 1], **{**size, **more})


def any_flow() -> Any:
    transformer = wan_transformer(d.AnyFlowTransformer3DModel)
    scheduler = d.FlowMapEulerDiscreteScheduler(shift=3.0)
    return assembled(d.AnyFlowPipeline, transformer, scheduler, vae=wan_vae())


def sana_wm() -> Any:
    transformer = made(
        d.SanaWMTransformer3DModel,
        in_channels=4,
        num_layers=2,
        hidden_size=16,
        num_attention_heads=2,
        softmax_every_n=2,
        linear_head_dim=8,
        caption_channels=8,
    )
    pipe = assembled(d.SanaWMPipeline, transformer, flow(5.0))
    pipe._encode_first_frame = lambda pixels, device, dtype: noise(7, 1, 4, 1, 2, 2)
    return pipe


def sana_wm_arguments(**more: Any) -> dict[str, Any]:
    arguments = prompts(8, "prompt_attention_mask", guidance_scale=3.0)
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        arguments[name] = arguments[name][:, None]
    return {
        **arguments,
        "prompt": "",
        "image": pictures(1, 64)[0],
        "action": "w-16",
        "intrinsics": [40.0, 40.0, 32.0, 32.0],
        "height": 64,
        "width": 64,
        "num_frames": 17,
        **more,
    }


class Tokens:
    """Cosmos 3's tokenizer, of which the pipeline asks for two numbers."""

    eos_token_id = 1

    def convert_tokens_to_ids(self, token: str) -> int:
        return 2


def cosmos3() -> Any:
    transformer = made(
        d.Cosmos3OmniTransformer,
        head_dim=12,
        hidden_size=24,
        intermediate_size=32,
        latent_channel=4,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        patch_latent_dim=16,
        rope_axes_dim=(2, 2, 2),
        vocab_size=16,
    )
    pipe = assembled(
        d.Cosmos3OmniPipeline,
        transformer,
        unipc(),
        vae=wan_vae(),
        text_tokenizer=Tokens(),
        enable_safety_checker=False,
    )
    pipe.tokenize_prompt = lambda *_, **__: ([3, 4, 5, 1, 2], [6, 1, 2])
    return pipe


def cosmos3_arguments(**more: Any) -> dict[str, Any]:
    size = {"height": 32, "width": 32, "num_frames": 5}
    asked = {"prompt": "", "generator": seeded(), "output_type": "latent"}
    return {**asked, "guidance_scale": 3.0, **size, **more}


FAMILIES = (
    Family("easy-animate", easy_animate, easy_animate_arguments),
    Family("wan-animate", wan_animate, wan_animate_arguments),
    Family("helios", helios, helios_arguments),
    Family("anyflow", any_flow, wan_arguments),
    Family(
        "anyflow-unguided",
        any_flow,
        lambda: wan_arguments(guidance_scale=1.0, negative_prompt_embeds=None),
    ),
    Family("sana-wm", sana_wm, sana_wm_arguments, partly=True),
    Family("cosmos-3", cosmos3, cosmos3_arguments),
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
