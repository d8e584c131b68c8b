"""Pictures: described transformers in further pipelines: control nets, filling in, layers, perturbed attention."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import diffusers as d
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_layered

from ...pipelines import flow_scheduler, flux_arguments, flux_transformer, mask, picture, tiny_vae
from .diffusion import (
    hunyuan_dit,
    hunyuan_dit_arguments,
    pixart,
    pixart_arguments,
    sana,
    sana_arguments,
)
from .family import Family, assembled, made, noise
from .image import qwen, qwen_arguments, sd3, sd3_arguments
from .joint import z_image, z_image_arguments
from .recent import PICTURE, WORDS

CONTROL = {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}


def flux_controlled() -> Any:
    controlnet = made(
        d.FluxControlNetModel,
        in_channels=4,
        num_single_layers=1,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=True,
        axes_dims_rope=[4, 4, 8],
        **CONTROL,
    )
    return assembled(
        d.FluxControlNetPipeline,
        flux_transformer(),
        flow_scheduler(),
        vae=tiny_vae(),
        controlnet=controlnet,
    )


def flux_fill() -> Any:
    config = {**flux_transformer().config, "in_channels": 12, "out_channels": 4}
    transformer = made(d.FluxTransformer2DModel, **config)
    return assembled(d.FluxFillPipeline, transformer, flow_scheduler(), vae=tiny_vae())


def qwen_controlled() -> Any:
    pipe = qwen()
    controlnet = made(
        d.QwenImageControlNetModel,
        in_channels=16,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
        **CONTROL,
    )
    return assembled(
        d.QwenImageControlNetPipeline,
        pipe.transformer,
        flow_scheduler(),
        vae=pipe.vae,
        controlnet=controlnet,
    )


class SmallLayers(d.QwenImageLayeredPipeline):
    """Parts a picture at its own size, not at 640 pixels; its latents, which it does not hand out."""

    def __call__(self, **arguments: Any) -> Any:
        ends: list[Any] = []
        keep = {"callback_on_step_end": lambda *given: ends.append(given[3]["latents"]) or given[3]}
        with patch.object(
            pipeline_qwenimage_layered, "calculate_dimensions", return_value=(32, 32)
        ):
            super().__call__(**{**arguments, "output_type": "pt", **keep})
        return (ends[-1],)


def qwen_layered() -> Any:
    pipe = qwen(SmallLayers, use_additional_t_cond=True, use_layer3d_rope=True)
    pipe.text_encoder = SimpleNamespace(dtype=torch.float32)
    return pipe


def qwen_layered_arguments() -> dict[str, Any]:
    arguments = qwen_arguments(prompt=WORDS, image=PICTURE, layers=2)
    return {name: value for name, value in arguments.items() if name not in ("height", "width")}


def sd3_controlled() -> Any:
    pipe = sd3()
    config = {**pipe.transformer.config, "num_layers": 1, "dual_attention_layers": ()}
    return assembled(
        d.StableDiffusion3ControlNetPipeline,
        pipe.transformer,
        vae=pipe.vae,
        controlnet=made(d.SD3ControlNetModel, **config),
    )


def hunyuan_dit_controlled() -> Any:
    pipe = hunyuan_dit()
    model = d.HunyuanDiT2DControlNetModel
    shared = inspect.signature(model.__init__).parameters.keys() & pipe.transformer.config.keys()
    config = {name: pipe.transformer.config[name] for name in shared}
    controlnet = made(model, **config, transformer_num_layers=4)
    return assembled(
        d.HunyuanDiTControlNetPipeline,
        pipe.transformer,
        pipe.scheduler,
        vae=pipe.vae,
        controlnet=controlnet,
        requires_safety_checker=False,
    )


def z_image_controlled() -> Any:
    transformer = z_image().transformer
    controlnet = made(
        d.ZImageControlNetModel,
        control_layers_places=[0],
        control_refiner_layers_places=[0],
        control_in_dim=16,
        dim=32,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
    )
    vae = made(
        d.AutoencoderKL,
        block_out_channels=(4,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        norm_num_groups=1,
        shift_factor=0.1,
    )
    pipe = assembled(d.ZImageControlNetPipeline, transformer, vae=vae, controlnet=controlnet)
    # Refiners of its own: hooks on the transformer's would see those of the control net.
    controlnet.from_transformer(controlnet, z_image().transformer)
    return pipe


def z_image_omni() -> Any:
    transformer = z_image(siglip_feat_dim=8).transformer
    pipe = assembled(d.ZImageOmniPipeline, transformer)
    pipe.prepare_image_latents = lambda images, batch_size, **_: (
        [[noise(7, 16, 1, 8, 8)]] * batch_size
    )
    pipe.prepare_siglip_embeds = lambda images, batch_size, **_: [[noise(8, 2, 2, 8)]] * batch_size
    return pipe


def z_image_omni_arguments() -> dict[str, Any]:
    arguments = z_image_arguments()
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        arguments[name] = [[arguments[name][0], arguments[name][0][:3], arguments[name][0][3:]]]
    return arguments


def sana_sprint() -> Any:
    guided = {"guidance_embeds": True, "guidance_embeds_scale": 0.1}
    return sana(d.SanaSprintPipeline, d.SCMScheduler(), qk_norm="rms_norm_across_heads", **guided)


def sana_sprint_arguments() -> dict[str, Any]:
    arguments = {k: v for k, v in sana_arguments().items() if not k.startswith("negative")}
    return {**arguments, "intermediate_timesteps": None}


FAMILIES = (
    Family(
        "flux-controlnet",
        flux_controlled,
        lambda: flux_arguments(8, control_image=picture()),
        partly=True,
    ),
    Family(
        "flux-fill",
        flux_fill,
        lambda: flux_arguments(8, image=picture(), mask_image=mask()),
    ),
    Family(
        "qwen-image-layered",
        qwen_layered,
        qwen_layered_arguments,
    ),
    Family(
        "qwen-image-layered-normalised",
        qwen_layered,
        lambda: {**qwen_layered_arguments(), "cfg_normalize": True},
    ),
    Family(
        "qwen-image-controlnet",
        qwen_controlled,
        lambda: qwen_arguments(control_image=PICTURE),
        partly=True,
    ),
    Family(
        "z-image-normalised",
        z_image,
        lambda: z_image_arguments(cfg_normalization=1.0),
        partly=True,
    ),
    Family("z-image-omni", z_image_omni, z_image_omni_arguments),
    Family(
        "z-image-controlnet",
        z_image_controlled,
        lambda: z_image_arguments(control_image=PICTURE),
        partly=True,
    ),
    Family(
        "sd3-controlnet",
        sd3_controlled,
        lambda: sd3_arguments(control_image=picture()),
        partly=True,
    ),
    Family(
        "hunyuan-dit-controlnet",
        hunyuan_dit_controlled,
        lambda: hunyuan_dit_arguments(control_image=picture()),
        partly=True,
    ),
    Family("hunyuan-dit-pag", lambda: hunyuan_dit(d.HunyuanDiTPAGPipeline), hunyuan_dit_arguments),
    Family(
        "hunyuan-dit-pag-rescaled",
        lambda: hunyuan_dit(d.HunyuanDiTPAGPipeline),
        lambda: hunyuan_dit_arguments(guidance_rescale=0.7),
    ),
    Family("sana-sprint", sana_sprint, sana_sprint_arguments),
    Family("pixart-sigma-pag", lambda: pixart(d.PixArtSigmaPAGPipeline), pixart_arguments),
)
