"""Tiny random pipelines as folders on disk, as `save_pretrained` writes the big ones."""

from __future__ import annotations

from pathlib import Path
from string import printable

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLHunyuanVideo,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaModel,
    LlamaTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from zcache.models.loading import Model

SIDE = 64  # pixels: 8x8 latents, 16 tokens
FRAMES = 5  # two latent frames
LABELS = ("red circle", "red square", "blue circle, azure circle")
LETTERS = [c for c in printable if not c.isspace()]


def write_flux(folder: Path) -> Path:
    """Write the pipeline to `folder` and return it."""
    torch.manual_seed(0)
    clip, t5 = _clip_tokenizer(), _t5_tokenizer()
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=_clip(clip),
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(t5), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        tokenizer_2=t5,
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
    ).save_pretrained(folder)
    return folder


def write_hunyuan(folder: Path) -> Path:
    """Write the pipeline to `folder` and return it."""
    torch.manual_seed(0)
    clip, llama = _clip_tokenizer(), _llama_tokenizer()
    HunyuanVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            mid_block_add_attention=False,
        ),
        text_encoder=LlamaModel(
            LlamaConfig(
                vocab_size=len(llama),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                pad_token_id=llama.pad_token_id,
            )
        ),
        tokenizer=llama,
        text_encoder_2=_clip(clip),
        tokenizer_2=clip,
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            guidance_embeds=True,
            text_embed_dim=16,
            pooled_projection_dim=16,
            rope_axes_dim=(2, 4, 4),
        ),
    ).save_pretrained(folder)
    return folder


def write_dit(folder: Path) -> Path:
    """Write the pipeline to `folder` and return it."""
    torch.manual_seed(0)
    pipe = DiTPipeline(
        transformer=DiTTransformer2DModel(
            sample_size=SIDE // 8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
        ),
        vae=_vae(),
        scheduler=DDIMScheduler(clip_sample=False),
    )
    pipe.register_to_config(id2label={str(i): label for i, label in enumerate(LABELS)})
    pipe.save_pretrained(folder)
    return folder


CALLS = {
    "FluxPipeline": {
        "height": SIDE,
        "width": SIDE,
        "guidance_scale": 3.5,
        "max_sequence_length": 32,
    },
    "HunyuanVideoPipeline": {
        "height": SIDE,
        "width": SIDE,
        "num_frames": FRAMES,
        "guidance_scale": 1.0,
        "max_sequence_length": 16,
    },
    "DiTPipeline": {"guidance_scale": 1.5},
}


def as_model(folder: Path, name: str, pipeline: str = "FluxPipeline") -> Model:
    """Return the entry of the table of models that stands for such a folder."""
    return Model(name, name, str(folder), pipeline, call=CALLS[pipeline], fps=8)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1,
        scaling_factor=0.4,
    )


def _clip_tokenizer() -> CLIPTokenizer:
    words = [*LETTERS, *(c + "</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )


def _llama_tokenizer() -> LlamaTokenizerFast:
    pieces = ["<unk>", "<s>", "</s>", "<pad>", "\u2581", "\n", *LETTERS]
    return LlamaTokenizerFast(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="right",
    )


def _t5_tokenizer() -> T5TokenizerFast:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    letters = [(c, -2.0) for c in LETTERS]
    return T5TokenizerFast(vocab=special + letters, extra_ids=0, model_max_length=64)
