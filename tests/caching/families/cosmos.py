"""Cosmos 1, which steps twice at a timestep, 2 and 2.5."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
from diffusers.models.transformers import transformer_cosmos
from torch.nn.functional import interpolate

from .family import Family, assembled, flow, made, prompts
from .video import unipc, wan_vae


def _nearest(mask: Any, size: list[int], interpolation: Any = None) -> Any:
    return interpolate(mask, size=size, mode="nearest")


if not hasattr(
    transformer_cosmos, "transforms"
):  # without torchvision: all that the class asks of it
    transformer_cosmos.transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=_nearest),
        InterpolationMode=SimpleNamespace(NEAREST="nearest"),
    )


class Harmless:
    """Cosmos's safety checker, of a package that is not needed here."""

    def to(self, device: Any) -> None: ...

    def check_text_safety(self, prompt: str) -> bool:
        return True


def cosmos_transformer(**config: Any) -> Any:
    defaults: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 2,
        "mlp_ratio": 2,
        "text_embed_dim": 32,
        "adaln_lora_dim": 4,
        "max_size": (4, 32, 32),
        "rope_scale": (1.0, 4.0, 4.0),
        "extra_pos_embed_type": None,
    }
    return made(d.CosmosTransformer3DModel, **{**defaults, **config})


def cosmos1() -> Any:
    vae = made(
        d.AutoencoderKLCosmos,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        patch_size=4,
        patch_type="haar",
        scaling_factor=1.0,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    )
    transformer = cosmos_transformer(extra_pos_embed_type="learnable")
    scheduler = d.EDMEulerScheduler(
        sigma_min=0.002,
        sigma_max=80,
        sigma_data=0.5,
        sigma_schedule="karras",
        final_sigmas_type="sigma_min",
    )
    return assembled(
        d.CosmosTextToWorldPipeline, transformer, scheduler, vae=vae, safety_checker=Harmless()
    )


def cosmos2(pipeline: type, **config: Any) -> Any:
    return assembled(
        pipeline,
        cosmos_transformer(**config),
        flow(use_karras_sigmas=True),
        vae=wan_vae(),
        safety_checker=Harmless(),
    )


def cosmos25() -> Any:
    return assembled(
        d.Cosmos2_5_PredictBasePipeline,
        cosmos_transformer(in_channels=5, concat_padding_mask=True, use_crossattn_projection=False),
        unipc(),
        vae=wan_vae(),
        safety_checker=Harmless(),
    )


def world_arguments(**more: Any) -> dict[str, Any]:
    return prompts(32, **{"guidance_scale": 3.0, "height": 32, "width": 32, **more})


FAMILIES = (
    Family(
        "cosmos-1",
        cosmos1,
        lambda: world_arguments(num_frames=9),
        partly=True,
    ),
    Family(
        "cosmos-1-unguided",
        cosmos1,
        lambda: world_arguments(num_frames=9, guidance_scale=1.0),
        partly=True,
    ),
    Family(
        "cosmos-2-t2i",
        lambda: cosmos2(d.Cosmos2TextToImagePipeline),
        world_arguments,
    ),
    Family("cosmos-2.5", cosmos25, lambda: world_arguments(num_frames=1)),
)
