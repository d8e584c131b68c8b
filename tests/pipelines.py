"""Tiny random pipelines of the real diffusers classes; no text encoders, no files, no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)

diffusers.utils.logging.set_verbosity_error()

STEPS = 12


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Case:
    """One way to call one pipeline. `image_tokens` is None where only the class is exercised."""

    name: str
    build: Callable[[], Any]
    arguments: Callable[[int], dict[str, Any]]

    def run(self, pipe: Any, steps: int = STEPS, **changes: Any) -> torch.Tensor:
        """The pipeline's output as one tensor."""
        output = pipe(**{**self.arguments(steps), **changes}, return_dict=False)[0]
        return output if torch.is_tensor(output) else torch.as_tensor(output)

    def __str__(self) -> str:
        return self.name


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """FLUX.1-dev's values."""
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def flux_transformer(in_channels: int = 4) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()


def tiny_vae(latent_channels: int = 1) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=1,
        shift_factor=0.0609,
        scaling_factor=1.5035,
    ).eval()


def flux(cls: type = FluxPipeline) -> Any:
    return quiet(
        cls(
            scheduler=flow_scheduler(),
            vae=tiny_vae(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=flux_transformer(),
        )
    )


def flux_arguments(steps: int, batch: int = 1, guided: bool = False, **more: Any) -> dict[str, Any]:
    generator = seeded(3)
    arguments = {
        "prompt_embeds": torch.randn(batch, 6, 32, generator=generator),
        "pooled_prompt_embeds": torch.randn(batch, 32, generator=generator),
        "height": 16,
        "width": 16,
        "num_inference_steps": steps,
        "guidance_scale": 3.5,
        "generator": seeded(),
        "output_type": "latent",
        **more,
    }
    if guided:
        arguments |= {
            "negative_prompt_embeds": torch.randn(batch, 6, 32, generator=generator),
            "negative_pooled_prompt_embeds": torch.randn(batch, 32, generator=generator),
            "true_cfg_scale": 3.0,
        }
    return arguments


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16, generator=seeded(5))


def mask() -> torch.Tensor:
    """A half whose edge runs through tokens of 2 x 2."""
    half = torch.zeros(1, 1, 16, 16)
    half[..., 7:] = 1.0
    return half


def dit() -> DiTPipeline:
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    ).eval()
    return quiet(
        DiTPipeline(
            transformer=transformer,
            vae=tiny_vae(4),
            scheduler=DDIMScheduler(clip_sample=False),
            id2label={0: "circle", 1: "square"},
        )
    )


def dit_arguments(
    steps: int, labels: tuple[int, ...] = (1,), guidance: float = 4.0
) -> dict[str, Any]:
    return {
        "class_labels": list(labels),
        "num_inference_steps": steps,
        "generator": seeded(),
        "guidance_scale": guidance,
        "output_type": "pt",
    }


def hunyuan(condition: str | None = None) -> Any:
    """Text to video, or image to video with the first frame as `condition` says."""
    torch.manual_seed(0)
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=2 * 4 + 1 if condition == "latent_concat" else 4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=condition != "latent_concat",
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        image_condition_type=condition,
    ).eval()
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()
    parts = {
        "transformer": transformer,
        "vae": vae,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "text_encoder": None,
        "text_encoder_2": None,
        "tokenizer": None,
        "tokenizer_2": None,
    }
    if condition is None:
        return quiet(HunyuanVideoPipeline(**parts))
    return quiet(HunyuanVideoImageToVideoPipeline(**parts, image_processor=None))


def hunyuan_arguments(steps: int, guided: bool = False, **more: Any) -> dict[str, Any]:
    generator = seeded(3)
    arguments = {
        "prompt_embeds": torch.randn(1, 5, 16, generator=generator),
        "pooled_prompt_embeds": torch.randn(1, 8, generator=generator),
        "prompt_attention_mask": torch.ones(1, 5),
        "height": 16,
        "width": 16,
        "num_frames": 5,
        "num_inference_steps": steps,
        "guidance_scale": 4.5,
        "generator": seeded(),
        "output_type": "latent",
        **more,
    }
    if guided:
        arguments |= {
            "negative_prompt_embeds": torch.randn(1, 5, 16, generator=generator),
            "negative_pooled_prompt_embeds": torch.randn(1, 8, generator=generator),
            "negative_prompt_attention_mask": torch.ones(1, 5),
            "true_cfg_scale": 3.0,
        }
    return arguments


def hunyuan15(guidance: float) -> HunyuanVideo15Pipeline:
    torch.manual_seed(0)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=16,
        image_embed_dim=8,
        rope_axes_dim=(2, 4, 4),
        target_size=16,
        task_type="t2v",
    ).eval()
    vae = AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
    ).eval()
    return quiet(
        HunyuanVideo15Pipeline(
            transformer=transformer,
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
            guider=ClassifierFreeGuidance(guidance_scale=guidance),
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
        )
    )


def hunyuan15_arguments(steps: int) -> dict[str, Any]:
    generator = seeded(3)
    arguments: dict[str, Any] = {
        "height": 32,
        "width": 32,
        "num_frames": 5,
        "num_inference_steps": steps,
        "generator": seeded(),
        "output_type": "latent",
    }
    for prefix in ("", "negative_"):
        for suffix, tokens in (("", 5), ("_2", 3)):
            arguments[f"{prefix}prompt_embeds{suffix}"] = torch.randn(
                1, tokens, 16, generator=generator
            )
            arguments[f"{prefix}prompt_embeds_mask{suffix}"] = torch.ones(1, tokens)
    return arguments


FLUX_CASES = (
    Case("flux", flux, flux_arguments),
    Case("flux-true-cfg", flux, lambda steps: flux_arguments(steps, guided=True)),
    Case("flux-batch", flux, lambda steps: flux_arguments(steps, batch=2)),
    Case(
        "flux-img2img",
        lambda: flux(FluxImg2ImgPipeline),
        lambda steps: flux_arguments(steps, image=picture(), strength=0.7),
    ),
    Case(
        "flux-img2img-true-cfg",
        lambda: flux(FluxImg2ImgPipeline),
        lambda steps: flux_arguments(steps, guided=True, image=picture(), strength=0.7),
    ),
    Case(
        "flux-inpaint",
        lambda: flux(FluxInpaintPipeline),
        lambda steps: flux_arguments(steps, image=picture(), mask_image=mask(), strength=0.8),
    ),
    Case(
        "flux-kontext",
        lambda: flux(FluxKontextPipeline),
        lambda steps: flux_arguments(steps, image=picture(), _auto_resize=False, max_area=256),
    ),
    Case(
        "flux-kontext-true-cfg",
        lambda: flux(FluxKontextPipeline),
        lambda steps: flux_arguments(
            steps, guided=True, image=picture(), _auto_resize=False, max_area=256
        ),
    ),
)
OTHER_CASES = (
    Case("dit", dit, dit_arguments),
    Case("dit-unguided", dit, lambda steps: dit_arguments(steps, guidance=1.0)),
    Case("dit-two-labels", dit, lambda steps: dit_arguments(steps, labels=(0, 1))),
    Case("hunyuan", hunyuan, hunyuan_arguments),
    Case("hunyuan-true-cfg", hunyuan, lambda steps: hunyuan_arguments(steps, guided=True)),
    Case(
        "i2v-replace",
        lambda: hunyuan("token_replace"),
        lambda steps: hunyuan_arguments(steps, image=picture()),
    ),
    Case(
        "i2v-replace-true-cfg",
        lambda: hunyuan("token_replace"),
        lambda steps: hunyuan_arguments(steps, image=picture(), guided=True),
    ),
    Case(
        "i2v-concat",
        lambda: hunyuan("latent_concat"),
        lambda steps: hunyuan_arguments(steps, image=picture()),
    ),
    Case("hunyuan15", lambda: hunyuan15(1.0), hunyuan15_arguments),
    Case("hunyuan15-guided", lambda: hunyuan15(6.0), hunyuan15_arguments),
)
CASES = FLUX_CASES + OTHER_CASES
BY_NAME = {case.name: case for case in CASES}
