"""Pictures: the families that came last to diffusers, and the first Lumina."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
import torch
from PIL import Image

from ...pipelines import flow_scheduler, seeded
from .family import TEXT, Family, assembled, made, noise, prompts

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


FAMILIES = (
    Family("qwen-image-2.1", qwen21, qwen21_arguments, partly=True),
    Family("glm-image", glm, glm_arguments),
    Family("ernie-image", ernie, ernie_arguments),
    Family("ideogram-4", ideogram4, ideogram4_arguments),
    Family("lumina-next", lumina, lumina_arguments),
    Family("fibo-2", fibo2, fibo2_arguments),
    Family("nucleus-image", nucleus, nucleus_arguments),
)
