"""Pipelines with a loop of their own: Kandinsky 5, LTX-2, Motif, editing and conditioning."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import diffusers as d
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit
from PIL import Image

from ...pipelines import hunyuan, hunyuan_arguments, picture, seeded
from .family import TEXT, Family, assembled, flow, made, noise, prompts, zero_snr
from .image import qwen, qwen_arguments
from .video import still, unipc, wan_transformer, wan_vae

ALONE = {
    f"{stream}{kind}_scale": 1.0 if kind != "stg" else 0.0
    for stream in ("", "audio_")
    for kind in ("guidance", "stg", "modality")
}


class SmallEdit(d.QwenImageEditPipeline):
    """Edits at the size asked for, not at a million pixels."""

    def __call__(self, **arguments: Any) -> Any:
        with patch.object(
            pipeline_qwenimage_edit, "calculate_dimensions", return_value=(32, 32, None)
        ):
            return super().__call__(**arguments)


def hunyuan_vae() -> Any:
    return made(
        d.AutoencoderKLHunyuanVideo,
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    )


def kandinsky5(pipeline: type, image: bool = False) -> Any:
    transformer = made(
        d.Kandinsky5Transformer3DModel,
        in_visual_dim=4,
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        out_visual_dim=4,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(1, 1, 2),
        visual_cond=image,
        attention_type="regular",
    )
    pipe = assembled(pipeline, transformer, flow(5.0), vae=hunyuan_vae())
    pipe.resolutions = [(32, 32)]  # the text-to-image pipeline draws nothing else
    return pipe


def kandinsky5_arguments(**more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "generator": seeded(),
        "output_type": "latent",
        "guidance_scale": 4.0,
    }
    for seed, prefix in ((1, ""), (2, "negative_")):
        arguments[f"{prefix}prompt_embeds_qwen"] = noise(seed, 1, TEXT, 16)
        arguments[f"{prefix}prompt_embeds_clip"] = noise(seed + 10, 1, 16)
        arguments[f"{prefix}prompt_cu_seqlens"] = torch.tensor([0, TEXT], dtype=torch.int32)
    return {**arguments, "height": 32, "width": 32, **more}


def motif() -> Any:
    transformer = made(
        d.MotifVideoTransformer3DModel,
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=2,
        num_decoder_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        rope_axes_dim=(4, 4, 4),
    )
    return assembled(
        d.MotifVideoPipeline, transformer, vae=wan_vae(), guider=d.ClassifierFreeGuidance(4.0)
    )


def ltx2(pipeline: type = d.LTX2Pipeline) -> Any:
    transformer = made(
        d.LTX2VideoTransformer3DModel,
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=128,
        audio_out_channels=128,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=16,
        rope_double_precision=False,
        use_prompt_adaln_single=False,
    )
    pipe = assembled(pipeline, transformer)
    statistics = {"latents_mean": torch.zeros(1), "latents_std": torch.ones(1)}
    sound = {"mel_bins": 64, "latent_channels": 8, "sample_rate": 16000, "mel_hop_length": 160}
    pipe.vae = SimpleNamespace(**statistics, config=SimpleNamespace(scaling_factor=1.0))
    pipe.audio_vae = SimpleNamespace(**statistics, config=SimpleNamespace(**sound))
    pipe.connectors = lambda embeds, mask, **_: (embeds, embeds, mask)
    return pipe


def chrono_edit() -> Any:
    seeing = {"image_dim": 16, "added_kv_proj_dim": 24}
    transformer = wan_transformer(d.ChronoEditTransformer3DModel, in_channels=12, **seeing)
    pipe = assembled(d.ChronoEditPipeline, transformer, unipc(), vae=wan_vae())
    pipe.encode_image = lambda image, device: noise(7, 1, 4, 16)
    return pipe


def cogvideox_vae() -> Any:
    return made(
        d.AutoencoderKLCogVideoX,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )


def cogvideox_i2v() -> Any:
    transformer = made(
        d.CogVideoXTransformer3DModel,
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        max_text_seq_length=16,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )
    return assembled(
        d.CogVideoXImageToVideoPipeline,
        transformer,
        zero_snr(1.0),
        vae=cogvideox_vae(),
    )


def framepack() -> Any:
    transformer = made(
        d.HunyuanVideoFramepackTransformer3DModel,
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=2,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        has_image_proj=True,
        image_proj_dim=16,
        has_clean_x_embedder=True,
    )
    pipe = hunyuan()
    pipe = assembled(d.HunyuanVideoFramepackPipeline, transformer, flow(7.0), vae=pipe.vae)
    pipe.encode_image = lambda image, **_: noise(7, 1, 4, 16)
    return pipe


FAMILIES = (
    Family(
        "kandinsky5-t2v",
        lambda: kandinsky5(d.Kandinsky5T2VPipeline),
        lambda: kandinsky5_arguments(num_frames=5),
    ),
    Family(
        "kandinsky5-i2v",
        lambda: kandinsky5(d.Kandinsky5I2VPipeline, image=True),
        lambda: kandinsky5_arguments(num_frames=33, image=still()),
        partly=True,
    ),
    Family(
        "kandinsky5-t2i",
        lambda: kandinsky5(d.Kandinsky5T2IPipeline),
        kandinsky5_arguments,
    ),
    Family(
        "motif-video",
        motif,
        lambda: prompts(16, "prompt_attention_mask", height=32, width=32, num_frames=5),
    ),
    Family(
        "ltx-2",
        ltx2,
        lambda: prompts(16, "prompt_attention_mask", height=64, width=64, num_frames=9),
        partly=True,
    ),
    Family(
        "ltx-2-unguided",
        ltx2,
        lambda: prompts(16, "prompt_attention_mask", height=64, width=64, num_frames=9, **ALONE),
        partly=True,
    ),
    Family(
        "qwen-image-edit",
        lambda: qwen(SmallEdit),
        lambda: qwen_arguments(image=Image.new("RGB", (32, 32), (90, 30, 200)), true_cfg_scale=1.0),
    ),
    Family(
        "qwen-image-edit-true-cfg",
        lambda: qwen(SmallEdit),
        lambda: qwen_arguments(image=Image.new("RGB", (32, 32), (90, 30, 200))),
    ),
    Family(
        "chrono-edit",
        chrono_edit,
        lambda: prompts(16, height=32, width=32, num_frames=5, image=still()),
    ),
    Family(
        "cogvideox-i2v",
        cogvideox_i2v,
        lambda: prompts(32, tokens=16, height=16, width=16, num_frames=9, image=picture()),
    ),
    Family(
        "framepack", framepack, lambda: hunyuan_arguments(8, image=picture(), latent_window_size=2)
    ),
)
