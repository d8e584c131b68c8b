"""Videos: Wan and its relatives, CogVideoX, LTX, Mochi, Allegro, Latte, Sana-Video, HunyuanVideo."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch

from ...pipelines import (
    flow_scheduler,
    hunyuan,
    hunyuan15,
    hunyuan15_arguments,
    hunyuan_arguments,
    picture,
    seeded,
)
from .family import Family, assembled, flow, made, noise, prompts, zero_snr

CLIP = {"height": 16, "width": 16, "num_frames": 5}


def unipc() -> Any:
    return d.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def wan_transformer(cls: type = d.WanTransformer3DModel, **config: Any) -> Any:
    defaults: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 4,
        "out_channels": 4,
        "text_dim": 16,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 2,
        "rope_max_seq_len": 32,
    }
    return made(cls, **{**defaults, **config})


def wan_vae(channels: int = 4) -> Any:
    return made(
        d.AutoencoderKLWan,
        base_dim=3,
        z_dim=channels,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * channels,
        latents_std=[1.0] * channels,
    )


def wan(scheduler: Any = None, **parts: Any) -> Any:
    return assembled(d.WanPipeline, wan_transformer(), scheduler or unipc(), vae=wan_vae(), **parts)


def wan22() -> Any:
    second = wan_transformer(ffn_dim=48)
    return wan(transformer_2=second, boundary_ratio=0.6)


def wan_arguments(**more: Any) -> dict[str, Any]:
    return prompts(16, **{"guidance_scale": 4.0, **CLIP, "height": 32, "width": 32, **more})


def wan_i2v(**parts: Any) -> Any:
    transformer = wan_transformer(in_channels=12, image_dim=16, added_kv_proj_dim=24)
    pipe = assembled(d.WanImageToVideoPipeline, transformer, unipc(), vae=wan_vae(), **parts)
    pipe.encode_image = lambda image, device: noise(7, 1, 4, 16)
    return pipe


def still(size: int = 32) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=seeded(5))


def wan_5b() -> Any:
    return assembled(
        d.WanPipeline, wan_transformer(), unipc(), vae=wan_vae(), expand_timesteps=True
    )


def wan_vace() -> Any:
    transformer = wan_transformer(
        d.WanVACETransformer3DModel, vace_layers=[0, 1], vace_in_channels=8 + 64
    )
    return assembled(d.WanVACEPipeline, transformer, unipc(), vae=wan_vae())


def skyreels() -> Any:
    transformer = wan_transformer(d.SkyReelsV2Transformer3DModel)
    return assembled(d.SkyReelsV2Pipeline, transformer, unipc(), vae=wan_vae())


def cogvideox(scheduler: Any = None) -> Any:
    transformer = made(
        d.CogVideoXTransformer3DModel,
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        max_text_seq_length=16,
    )
    return assembled(d.CogVideoXPipeline, transformer, scheduler or zero_snr(3.0))


def cogvideox_arguments(**more: Any) -> dict[str, Any]:
    return prompts(32, tokens=16, guidance_scale=4.0, height=16, width=16, num_frames=9, **more)


def ltx(pipeline: type = d.LTXPipeline, scheduler: Any = None) -> Any:
    transformer = made(
        d.LTXVideoTransformer3DModel,
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=32,
    )
    vae = made(
        d.AutoencoderKLLTXVideo,
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        patch_size=1,
        patch_size_t=1,
    )
    return assembled(pipeline, transformer, scheduler or flow_scheduler(), vae=vae)


def ltx_arguments(**more: Any) -> dict[str, Any]:
    shape = {"height": 32, "width": 32, "num_frames": 9}
    return prompts(32, "prompt_attention_mask", guidance_scale=3.0, **{**shape, **more})


def mochi() -> Any:
    transformer = made(
        d.MochiTransformer3DModel,
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    return assembled(d.MochiPipeline, transformer, force_zeros_for_empty_prompt=False)


def mochi_arguments() -> dict[str, Any]:
    return prompts(
        32, "prompt_attention_mask", dtype=torch.bool, height=32, width=32, num_frames=7,
        guidance_scale=4.5,
    )  # fmt: skip


def allegro() -> Any:
    transformer = made(
        d.AllegroTransformer3DModel,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        cross_attention_dim=24,
        sample_width=8,
        sample_height=8,
        sample_frames=8,
        caption_channels=24,
    )
    return assembled(d.AllegroPipeline, transformer, d.EulerDiscreteScheduler())


def allegro_arguments() -> dict[str, Any]:
    return prompts(
        24, "prompt_attention_mask", negative_prompt=None, height=32, width=32, num_frames=8
    )


def latte() -> Any:
    transformer = made(
        d.LatteTransformer3DModel,
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        video_length=2,
    )
    return assembled(d.LattePipeline, transformer, d.DDIMScheduler(clip_sample=False))


def latte_arguments() -> dict[str, Any]:
    return prompts(32, negative_prompt=None, height=64, width=64, video_length=2)


def sana_video(pipeline: type = d.SanaVideoPipeline) -> Any:
    transformer = made(
        d.SanaVideoTransformer3DModel,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=12,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=8,
        sample_size=8,
    )
    return assembled(pipeline, transformer, unipc(), vae=wan_vae())


def sana_video_arguments(**more: Any) -> dict[str, Any]:
    return prompts(
        8, "prompt_attention_mask", negative_prompt=None, height=32, width=32, frames=5,
        use_resolution_binning=False, **more,
    )  # fmt: skip


FAMILIES = (
    Family("hunyuan-video", hunyuan, lambda: hunyuan_arguments(8)),
    Family("hunyuan-video-1.5", lambda: hunyuan15(6.0), lambda: hunyuan15_arguments(8)),
    Family("wan", wan, wan_arguments),
    Family("wan-flow-euler", lambda: wan(flow()), wan_arguments),
    Family("wan-2.2", wan22, wan_arguments, partly=True),
    Family("wan-2.2-5b", wan_5b, wan_arguments),
    Family(
        "wan-i2v",
        wan_i2v,
        lambda: wan_arguments(image=still()),
    ),
    Family("wan-vace", wan_vace, wan_arguments),
    Family("skyreels-v2", skyreels, wan_arguments),
    Family("cogvideox", cogvideox, cogvideox_arguments),
    Family("cogvideox-dynamic-cfg", cogvideox, lambda: cogvideox_arguments(use_dynamic_cfg=True)),
    Family("ltx", ltx, ltx_arguments),
    Family("ltx-rescaled", ltx, lambda: ltx_arguments(guidance_rescale=0.7)),
    Family("ltx-condition", lambda: ltx(d.LTXConditionPipeline, flow()), ltx_arguments),
    Family(
        "ltx-i2v",
        lambda: ltx(d.LTXImageToVideoPipeline),
        lambda: ltx_arguments(image=still()),
        partly=True,
    ),
    Family("mochi", mochi, mochi_arguments),
    Family("allegro", allegro, allegro_arguments),
    Family("latte", latte, latte_arguments),
    Family("sana-video", sana_video, sana_video_arguments),
    Family(
        "hunyuan-i2v",
        lambda: hunyuan("token_replace"),
        lambda: hunyuan_arguments(8, image=picture()),
    ),
)
