"""Pictures: the families whose image and text tokens meet in joint attention."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch

from ...pipelines import flow_scheduler, flux, flux_arguments, mask, picture, seeded, tiny_vae
from .family import TEXT, Family, assembled, made, noise, prompts

ROPE = {"attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 4, 8)}
SIZE = {"height": 32, "width": 32}


def sd3(pipeline: type = d.StableDiffusion3Pipeline, dual: tuple[int, ...] = (0,)) -> Any:
    transformer = made(
        d.SD3Transformer2DModel,
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        dual_attention_layers=dual,
        qk_norm="rms_norm",
    )
    return assembled(pipeline, transformer, vae=tiny_vae(4))


def sd3_arguments(**more: Any) -> dict[str, Any]:
    pooled = {
        "pooled_prompt_embeds": noise(5, 1, 16),
        "negative_pooled_prompt_embeds": noise(6, 1, 16),
    }
    return prompts(32, guidance_scale=5.0, **pooled, **{"height": 8, "width": 8, **more})


def qwen(pipeline: type = d.QwenImagePipeline, **config: Any) -> Any:
    transformer = made(
        d.QwenImageTransformer2DModel,
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        joint_attention_dim=16,
        **{**ROPE, "axes_dims_rope": (8, 4, 4)},
        **config,
    )
    vae = made(
        d.AutoencoderKLQwenImage,
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return assembled(pipeline, transformer, flow_scheduler(), vae=vae)


def qwen_arguments(**more: Any) -> dict[str, Any]:
    return prompts(
        16, "prompt_embeds_mask", dtype=torch.long, **{"true_cfg_scale": 3.0, **SIZE, **more}
    )


def flux2(pipeline: type = d.Flux2Pipeline, **config: Any) -> Any:
    transformer = made(
        d.Flux2Transformer2DModel,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=16,
        timestep_guidance_channels=16,
        **{**ROPE, "axes_dims_rope": (4, 4, 4, 4)},
        **config,
    )
    vae = made(
        d.AutoencoderKLFlux2,
        sample_size=32,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return assembled(pipeline, transformer, flow_scheduler(), vae=vae)


def flux2_arguments(guided: bool = False, **more: Any) -> dict[str, Any]:
    arguments = prompts(16, guidance_scale=4.0, **{**{"height": 16, "width": 16}, **more})
    if not guided:
        del arguments["negative_prompt_embeds"]
    return arguments


def chroma() -> Any:
    transformer = made(
        d.ChromaTransformer2DModel,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
        **ROPE,
    )
    return assembled(d.ChromaPipeline, transformer, flow_scheduler(), vae=tiny_vae())


def chroma_arguments() -> dict[str, Any]:
    return prompts(32, "prompt_attention_mask", guidance_scale=3.0, height=16, width=16)


def bria() -> Any:
    transformer = made(
        d.BriaTransformer2DModel,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        **{**ROPE, "axes_dims_rope": [4, 4, 8]},
    )
    return assembled(d.BriaPipeline, transformer, vae=tiny_vae(4))


def bria_fibo() -> Any:
    transformer = made(
        d.BriaFiboTransformer2DModel,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        text_encoder_dim=16,
        **{**ROPE, "axes_dims_rope": [4, 4, 8]},
    )
    vae = made(
        d.AutoencoderKLWan,
        base_dim=3,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    pipe = assembled(d.BriaFiboPipeline, transformer, flow_scheduler(), vae=vae)
    pipe.encode_prompt = lambda **_: (
        noise(1, 1, TEXT, 32),
        noise(2, 1, TEXT, 32),
        torch.zeros(1, TEXT, 3),
        torch.ones(1, TEXT),
        torch.ones(1, TEXT),
        [noise(seed, 1, TEXT, 16) for seed in range(4)],
        [noise(seed, 1, TEXT, 16) for seed in range(4, 8)],
    )
    return pipe


def bria_fibo_arguments() -> dict[str, Any]:
    return {
        "prompt": "stands for the embeddings above",
        "generator": seeded(),
        "output_type": "latent",
        "guidance_scale": 4.0,
        "height": 64,
        "width": 64,
    }


def ovis() -> Any:
    transformer = made(
        d.OvisImageTransformer2DModel,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        **ROPE,
    )
    return assembled(d.OvisImagePipeline, transformer, flow_scheduler())


def flux_case(pipeline: type, **more: Any) -> dict[str, Any]:
    return {"build": lambda: flux(pipeline), "arguments": lambda: flux_arguments(8, **more)}


FAMILIES = (
    Family("flux", **flux_case(d.FluxPipeline)),
    Family("flux-true-cfg", **flux_case(d.FluxPipeline, guided=True)),
    Family(
        "flux-kontext",
        **flux_case(d.FluxKontextPipeline, image=picture(), _auto_resize=False, max_area=256),
    ),
    Family(
        "flux-inpaint",
        **flux_case(d.FluxInpaintPipeline, image=picture(), mask_image=mask(), strength=0.9),
    ),
    Family("sd3", lambda: sd3(dual=()), sd3_arguments),
    Family("sd3.5", sd3, sd3_arguments),
    Family(
        "sd3-skip-layer",
        sd3,
        lambda: sd3_arguments(skip_guidance_layers=[1], skip_layer_guidance_stop=0.6),
        partly=True,
    ),
    Family(
        "sd3-img2img",
        lambda: sd3(d.StableDiffusion3Img2ImgPipeline),
        lambda: sd3_arguments(image=torch.rand(1, 3, 8, 8, generator=seeded(5)), strength=0.9),
    ),
    Family("qwen-image", qwen, lambda: qwen_arguments(true_cfg_scale=1.0)),
    Family(
        "qwen-image-edit-2509",
        lambda: qwen(zero_cond_t=True),
        lambda: qwen_arguments(true_cfg_scale=1.0),
    ),
    Family("qwen-image-true-cfg", qwen, qwen_arguments),
    Family("flux2", flux2, flux2_arguments),
    Family(
        "flux2-klein",
        lambda: flux2(d.Flux2KleinPipeline, guidance_embeds=False),
        lambda: flux2_arguments(guided=True),
    ),
    Family("chroma", chroma, chroma_arguments),
    Family("bria", bria, lambda: prompts(32, guidance_scale=4.0, **SIZE)),
    Family("bria-fibo", bria_fibo, bria_fibo_arguments),
    Family(
        "ovis-image", ovis, lambda: prompts(32, guidance_scale=4.0, negative_prompt=None, **SIZE)
    ),
)
