"""The parts of mini-flux: FLUX.1-dev's classes at toy width, its captions, a folder in its Hub format."""

import collections
import copy
import itertools
import json
import random
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from zcache.models.mini.scenes import words

TEXT_LENGTH = 20  # tokens of the long text, `max_sequence_length` in the pipeline's call
POOLED_LENGTH = 24  # tokens of the pooled text
TEXT_WIDTH = 128
WEIGHTS_BYTES = "9MB"
PATCHES = 8  # image tokens on a side


def clip_tokenizer() -> CLIPTokenizer:
    """Builds a byte-level BPE that knows the words whole and spells all others."""
    merges = _merges(words())
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [left + right for left, right in merges]
    pieces = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=POOLED_LENGTH)


def t5_tokenizer() -> T5TokenizerFast:
    """Builds a unigram vocabulary of whole words, lower case and capitalised, and letters."""
    whole = [f"\u2581{word}" for word in words()]
    whole += [f"\u2581{word.capitalize()}" for word in words()]
    letters = [chr(code) for code in range(33, 127)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -4.0)]
    vocab += [(word, -2.0) for word in whole] + [(letter, -8.0) for letter in letters]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=TEXT_LENGTH)


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Builds the encoder whose state at the end token is the pooled text."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=POOLED_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def text_encoder_2(tokenizer: T5TokenizerFast) -> T5EncoderModel:
    """Builds the encoder of the long text."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=TEXT_WIDTH,
        d_kv=32,
        d_ff=2 * TEXT_WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        use_cache=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder = T5EncoderModel(config)
    # The heads start out leaning to the last words, the next, all before and all after, so that
    # order is felt from the first step: which colour belongs to which group hangs on it.
    lean = encoder.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.data
    after = config.relative_attention_num_buckets // 2
    lean.zero_()
    lean[1:3, 0] = lean[after + 1 : after + 3, 1] = 3.0
    lean[1:after, 2] = lean[after + 1 :, 3] = 3.0
    return encoder


def transformer(latent_channels: int, double: int, single: int) -> FluxTransformer2DModel:
    """Builds the transformer with half-open gates and a zero output: it starts as a calm map."""
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * latent_channels,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 28, 28),
    )
    for name, module in model.named_modules():
        if name.endswith(("norm.linear", "norm1.linear", "norm1_context.linear")):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
            for gate in module.bias.data.view(-1, model.inner_dim)[2::3]:
                gate.fill_(0.5)
    torch.nn.init.zeros_(model.proj_out.weight)
    torch.nn.init.zeros_(model.proj_out.bias)
    return model


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Builds FLUX.1-dev's scheduler."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


class Flow(torch.nn.Module):
    """The trained modules, and the velocity that they give together."""

    def __init__(self, latent_channels: int, double: int, single: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder(clip_tokenizer())
        self.text_encoder_2 = text_encoder_2(t5_tokenizer())
        self.transformer = transformer(latent_channels, double, single)
        self.register_buffer("image_ids", image_ids(PATCHES), persistent=False)
        self.register_buffer("text_ids", torch.zeros(TEXT_LENGTH, 3), persistent=False)

    def forward(
        self,
        noisy: torch.Tensor,  # (B, L, C)
        sigma: torch.Tensor,  # (B,)
        guidance: torch.Tensor,  # (B,)
        short: torch.Tensor,  # (B, POOLED_LENGTH)
        long: torch.Tensor,  # (B, TEXT_LENGTH)
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The velocity (B, L, C), and what the encoders made of the caption."""
        pooled, states = self.read(short, long)
        velocity = self.transformer(
            hidden_states=noisy,
            timestep=sigma,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=self.text_ids,
            img_ids=self.image_ids,
            return_dict=False,
        )[0]
        return velocity, pooled, states

    def read(self, short: torch.Tensor, long: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled text (B, D) and the states of its tokens (B, TEXT_LENGTH, D)."""
        pooled = self.text_encoder(short, return_dict=False)[1]
        return pooled, self.text_encoder_2(long, return_dict=False)[0]

    def parts(self) -> dict[str, torch.nn.Module]:
        return dict(self.named_children())


class Captions:
    """Token ids of all captions; the last row is the empty caption."""

    def __init__(self, captions: list[str]) -> None:
        spoken = [_vary(text, random.Random(index)) for index, text in enumerate(captions)] + [""]
        clip, t5 = clip_tokenizer(), t5_tokenizer()
        self.short = _ids(clip, spoken, POOLED_LENGTH)
        self.long = _ids(t5, spoken, TEXT_LENGTH)

    def __getitem__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.short[rows], self.long[rows]


def _vary(text: str, rng: random.Random) -> str:
    """Says one caption in ten with a capital and a full stop, one in ten without its background."""
    manner = rng.random()
    if manner < 0.1:
        return f"{text.capitalize()}."
    return text.split(" on a ")[0] if manner < 0.2 else text


def _ids(tokenizer: object, texts: list[str], length: int) -> torch.Tensor:
    return tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Folds 2x2 latent pixels into tokens, as `FluxPipeline` does: (N, C, H, W) -> (N, L, 4C)."""
    count, channels, height, width = latents.shape
    return FluxPipeline._pack_latents(latents, count, channels, height, width)


def image_ids(side: int) -> torch.Tensor:
    """Gives each image token its place, as `FluxPipeline` does."""
    return FluxPipeline._prepare_latent_image_ids(None, side, side, "cpu", torch.float32)


def save(folder: Path, vae: AutoencoderKL, models: dict[str, torch.nn.Module]) -> None:
    """Writes the pipeline in half precision, to be loaded in single precision."""
    half = {name: copy.deepcopy(model).half() for name, model in models.items()}
    pipe = FluxPipeline(
        scheduler=scheduler(),
        vae=copy.deepcopy(vae).half(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        **half,
    )
    pipe.save_pretrained(folder, max_shard_size=WEIGHTS_BYTES)
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        if "dtype" in config:  # transformers loads in the type named here
            config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n")


def _merges(known: list[str]) -> list[tuple[str, str]]:
    """The merges of BPE until every word is one piece; of equally frequent ones the first by letter,
    where the tokenizers package takes any."""
    spelt = [[*word[:-1], f"{word[-1]}</w>"] for word in known]
    merges = []
    while pairs := collections.Counter(
        pair for pieces in spelt for pair in itertools.pairwise(pieces)
    ):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for pieces in spelt:
            for at in range(len(pieces) - 2, -1, -1):
                if tuple(pieces[at : at + 2]) == best:
                    pieces[at : at + 2] = ["".join(best)]
    return merges
