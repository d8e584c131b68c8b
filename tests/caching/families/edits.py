"""Pictures made of other pictures: OmniGen and JoyImage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import diffusers as d
import torch
from diffusers.pipelines.omnigen import pipeline_omnigen
from diffusers.pipelines.omnigen.processor_omnigen import (
    OmniGenCollator,
    OmniGenMultiModalProcessor,
)

from ...pipelines import seeded
from .family import TEXT, Family, assembled, made, noise, prompts
from .recent import PICTURE, SIZE, WORDS, latent
from .video import wan_vae


class Words(OmniGenMultiModalProcessor):
    """A word is its length; without torchvision."""

    def __init__(self, tokenizer: Any, max_image_size: int) -> None:
        self.max_image_size = max_image_size
        self.collator = OmniGenCollator()

    def process_image(self, image: Any) -> torch.Tensor:
        return torch.rand(3, 32, 32, generator=seeded(5))

    def text_tokenizer(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[min(len(word), 31) for word in text.split()])


def omnigen() -> Any:
    transformer = made(
        d.OmniGenTransformer2DModel,
        in_channels=4,
        hidden_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        num_layers=2,
        pad_token_id=0,
        vocab_size=32,
        rope_scaling={"short_factor": [1.0] * 8, "long_factor": [1.0] * 8},
        pos_embed_max_size=8,
        time_step_dim=16,
    )
    vae = made(
        d.AutoencoderKL,
        block_out_channels=(4,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=1,
    )
    with patch.object(pipeline_omnigen, "OmniGenMultiModalProcessor", Words, create=True):
        return assembled(d.OmniGenPipeline, transformer, vae=vae)


def omnigen_arguments(**more: Any) -> dict[str, Any]:
    return {**latent(), "prompt": WORDS, **SIZE, **more}


def joy(pipeline: type = d.JoyImageEditPipeline) -> Any:
    plus = pipeline is d.JoyImageEditPlusPipeline
    transformer = made(
        d.JoyImageEditPlusTransformer3DModel if plus else d.JoyImageEditTransformer3DModel,
        in_channels=4,
        hidden_size=32,
        num_attention_heads=2,
        text_dim=16,
        mlp_width_ratio=1.0,
        num_layers=2,
        rope_dim_list=[4, 6, 6],
    )
    pipe = assembled(pipeline, transformer, vae=wan_vae())
    if plus:  # cannot take embeddings together with pictures
        pipe.encode_prompt_multiple_images = lambda prompt, **_: (
            noise(1 if WORDS in prompt[0] else 2, 1, TEXT, 16),
            torch.ones(1, TEXT),
        )
    processor = pipe.image_processor if plus else pipe.vae_image_processor
    processor.get_default_height_width = lambda *_: (32, 32)
    return pipe


def joy_arguments(**more: Any) -> dict[str, Any]:
    return prompts(16, "prompt_embeds_mask", guidance_scale=4.0, **SIZE, **more)


FAMILIES = (
    Family("omnigen", omnigen, omnigen_arguments),
    Family(
        "omnigen-edit",
        omnigen,
        lambda: omnigen_arguments(
            prompt=[f"{WORDS} <img><|image_1|></img>"], input_images=[[PICTURE]]
        ),
    ),
    Family("joy-image-edit", joy, lambda: joy_arguments(image=PICTURE)),
    Family(
        "joy-image-edit-plus",
        lambda: joy(d.JoyImageEditPlusPipeline),
        lambda: {
            **latent(),
            "prompt": WORDS,
            "images": [PICTURE],
            "guidance_scale": 4.0,
            **SIZE,
        },
    ),
)
