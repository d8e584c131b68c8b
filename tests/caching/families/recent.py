"""Pictures: the families that came last to diffusers, and the first Lumina and OmniGen."""

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
from PIL import Image

from ...pipelines import flow_scheduler, seeded
from .family import TEXT, Family, assembled, made, noise, prompts
from .video import wan_vae

SIZE = {"height": 32, "width": 32}
WORDS = "stands for its embeddings"
PICTURE = Image.new("RGB", (32, 32), (90, 30, 200))


def latent() -> dict[str, Any]:
    return {"generator": seeded(), "output_type": "latent"}


def opened(model: Any) -> Any:
    """The model with its gates of one number opened, too, and weights where none are drawn."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate", "pad_token")):
                parameter.fill_(0.5)
            if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
                parameter.normal_(std=0.05)
    return model


class Template:
    """What Qwen-Image 2.1 asks of a processor before it is given a prompt."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(encode=lambda text: [0])

    def apply_chat_template(self, message: Any, **_: Any) -> list[list[int]]:
        return [[0]]


def qwen21() -> Any:
    transformer = made(
        d.QwenImage21Transformer2DModel,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return assembled(d.QwenImage21Pipeline, transformer, flow_scheduler(), processor=Template())


def qwen21_arguments(**more: Any) -> dict[str, Any]:
    return prompts(16, true_cfg_scale=3.0, **{"height": 64, "width": 64, **more})


def glm() -> Any:
    transformer = made(
        d.GlmImageTransformer2DModel,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=8,
    )
    pipe = assembled(d.GlmImagePipeline, transformer, flow_scheduler())
    pipe.vae_scale_factor = 8
    return pipe


def glm_arguments(**more: Any) -> dict[str, Any]:
    tokens = torch.arange(4)[None] % 8  # one for every image token
    return prompts(16, prior_token_ids=tokens, guidance_scale=3.0, **{**SIZE, **more})


def ernie() -> Any:
    transformer = made(
        d.ErnieImageTransformer2DModel,
        hidden_size=32,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=32,
        in_channels=4,
        out_channels=4,
        text_in_dim=16,
        rope_axes_dim=(4, 6, 6),
    )
    return assembled(d.ErnieImagePipeline, transformer)


def ernie_arguments(**more: Any) -> dict[str, Any]:
    embedded = {"prompt_embeds": [noise(1, TEXT, 16)], "negative_prompt_embeds": [noise(2, 5, 16)]}
    return {**latent(), **embedded, "height": 64, "width": 64, **more}


def ideogram4() -> Any:
    config = {
        "in_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "adaln_dim": 16,
        "llm_features_dim": 16,
        "mrope_section": (4, 2, 2),
    }
    conditional = made(d.Ideogram4Transformer2DModel, **config)
    unconditional = opened(made(d.Ideogram4Transformer2DModel, **config))
    with torch.no_grad():
        unconditional.input_proj.weight.mul_(0.7)
    pipe = assembled(d.Ideogram4Pipeline, conditional, unconditional_transformer=unconditional)
    pipe.encode_prompt = lambda prompt, grid_h, grid_w, **_: (
        torch.cat([noise(1, 1, TEXT, 16), torch.zeros(1, grid_h * grid_w, 16)], dim=1),
        *pipe._prepare_ids([TEXT - 2], grid_h, grid_w, TEXT, torch.device("cpu")),
    )
    return pipe


def ideogram4_arguments(**more: Any) -> dict[str, Any]:
    words = {"prompt": WORDS, "max_sequence_length": TEXT}
    scale = {"guidance_scale": 4.0, "guidance_schedule": None}
    return {**latent(), **words, **scale, "height": 64, "width": 64, **more}


def lumina() -> Any:
    transformer = made(
        d.LuminaNextDiT2DModel,
        sample_size=8,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        cross_attention_dim=16,
    )
    return assembled(d.LuminaPipeline, opened(transformer))


def lumina_arguments(**more: Any) -> dict[str, Any]:
    return prompts(16, "prompt_attention_mask", guidance_scale=4.0, **{**SIZE, **more})


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


def fibo2() -> Any:
    transformer = made(
        d.BriaFibo2Transformer2DModel,
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        cap_feat_dim=16,
        injection_layer_ids=(1,),
        perceiver_num_layers=1,
        min_num_gist_tokens=2,
        max_num_gist_tokens=4,
        gist_step=1,
        gist_min_text_len=2,
        gist_max_text_len=8,
        axes_dims=(4, 6, 6),
        axes_lens=(16, 8, 8),
    )
    return assembled(d.BriaFibo2Pipeline, opened(transformer), flow_scheduler())


def fibo2_arguments(**more: Any) -> dict[str, Any]:
    embedded = {
        "prompt_embeds": noise(1, 1, 2, 5, 16),
        "negative_prompt_embeds": noise(2, 1, 2, 3, 16),
    }
    return {**latent(), **embedded, "guidance_scale": 4.0, **SIZE, **more}


def nucleus() -> Any:
    transformer = made(
        d.NucleusMoEImageTransformer2DModel,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        mlp_ratio=6.0,
        dense_moe_strategy="leave_first_block_dense",
        num_experts=2,
        moe_intermediate_dim=16,
        capacity_factors=1.0,
    )
    return assembled(d.NucleusMoEImagePipeline, opened(transformer), flow_scheduler())


def nucleus_arguments(**more: Any) -> dict[str, Any]:
    return prompts(16, "prompt_embeds_mask", guidance_scale=4.0, **{**SIZE, **more})


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
    Family("qwen-image-2.1", qwen21, qwen21_arguments, partly=True),
    Family("glm-image", glm, glm_arguments),
    Family("ernie-image", ernie, ernie_arguments),
    Family("ideogram-4", ideogram4, ideogram4_arguments),
    Family("lumina-next", lumina, lumina_arguments, partly=True),
    Family("omnigen", omnigen, omnigen_arguments),
    Family(
        "omnigen-edit",
        omnigen,
        lambda: omnigen_arguments(
            prompt=[f"{WORDS} <img><|image_1|></img>"], input_images=[[PICTURE]]
        ),
    ),
    Family("fibo-2", fibo2, fibo2_arguments),
    Family("nucleus-image", nucleus, nucleus_arguments),
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
