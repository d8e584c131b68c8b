"""The parts of mini-hunyuan: HunyuanVideo's classes at toy width, and a folder in its Hub format."""

import copy
import json
import re
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaModel,
    LlamaTokenizerFast,
)

from zcache.models.mini import motion

TEXT_LENGTH = 16  # tokens of the prompt, `max_sequence_length` in the pipeline's call
POOLED_LENGTH = 77  # tokens of the pooled text; the pipeline pads to no other length
TEXT_WIDTH = 128
SKIPPED_LAYERS = 2  # the pipeline reads the state before the Llama's last two layers
WEIGHTS_BYTES = "9MB"
BEGIN, END, PAD, UNKNOWN = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|unk|>"
MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LETTERS = [chr(code) for code in range(33, 127)]


def words() -> list[str]:
    """Lists every word that a caption can have."""
    plain = [*motion.COLOURS, *motion.KINDS, "a", "an", "while"]
    plain += " ".join(phrase for phrase, _ in motion.ACTIONS.values()).split()
    return sorted(set(plain))


def llama_tokenizer() -> LlamaTokenizerFast:
    """Builds a vocabulary of the captions' words and of the pipeline's prompt template.

    Words grow letter by letter from their start, so each is one token. As with Llama 3's own
    vocabulary the template, up to the prompt, is exactly the 95 tokens that the pipeline cuts off.
    """
    template = re.sub(r"<\|\w+\|>|\{\}", "\n", DEFAULT_PROMPT_TEMPLATE["template"])
    described = [word for word in re.findall(r"[A-Za-z]+", template) if word != "detailing"]
    spaced = [*described, *words(), *"12345", "detail", "A", "An"]
    merges = _chains(f"\u2581{word}" for word in spaced)
    # What begins a passage has no space before it: these merges come last, and leave words alone.
    merges += _chains(
        ["\n\n", "Describe", "system", "user", "The", "Actions", "a", "an", "A", "An"]
    )
    merges += _chains(["ing"])
    pieces = [UNKNOWN, BEGIN, END, PAD, *MARKS, "\n", "\u2581", *LETTERS]
    pieces += ["".join(pair) for pair in merges]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = LlamaTokenizerFast(
        vocab=vocab,
        merges=list(dict.fromkeys(merges)),
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(MARKS),
        padding_side="right",
        model_max_length=256 + DEFAULT_PROMPT_TEMPLATE["crop_start"],
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, vocab[BEGIN])]
    )
    return tokenizer


def clip_tokenizer() -> CLIPTokenizer:
    """Builds a BPE that knows the captions' words whole and spells all others."""
    merges = _chains((f"{word}</w>" for word in words()), ending="</w>")
    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    pieces += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=POOLED_LENGTH)


def text_encoder(tokenizer: LlamaTokenizerFast) -> LlamaModel:
    """Builds the encoder of the long text."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2 + SKIPPED_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=512,
        attention_bias=True,
        use_cache=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaModel(config)
    # The transformer reads the states without a norm: the words must be audible from the start.
    torch.nn.init.normal_(model.embed_tokens.weight, std=0.3)
    for layer in model.layers[:-SKIPPED_LAYERS]:
        _hear_before(layer.self_attn, model.rotary_emb.inv_freq)
    return model


def text_encoder_2(tokenizer: CLIPTokenizer) -> CLIPTextModel:
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


def transformer(
    latent_channels: int, heads: int, double: int, single: int
) -> HunyuanVideoTransformer3DModel:
    """Builds the transformer with half-open gates and a zero output: it starts as a calm map."""
    model = HunyuanVideoTransformer3DModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_attention_heads=heads,
        attention_head_dim=32,
        num_layers=double,
        num_single_layers=single,
        num_refiner_layers=1,
        guidance_embeds=True,
        text_embed_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        rope_axes_dim=(8, 12, 12),
    )
    for name, module in model.named_modules():
        if name.endswith(("norm.linear", "norm1.linear", "norm1_context.linear")):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
            for gate in module.bias.data.view(-1, 32 * heads)[2::3]:
                gate.fill_(0.5)
    for layer in (model.norm_out.linear, model.proj_out):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Builds HunyuanVideo's scheduler."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=7.0)


def templated(caption: str) -> str:
    """Sets a caption into the pipeline's prompt template."""
    return DEFAULT_PROMPT_TEMPLATE["template"].format(caption)


def save(folder: Path, vae: AutoencoderKLHunyuanVideo, models: dict[str, torch.nn.Module]) -> None:
    """Writes the pipeline in half precision, to be loaded in single precision."""
    half = {name: copy.deepcopy(model).half() for name, model in models.items()}
    pipe = HunyuanVideoPipeline(
        scheduler=scheduler(),
        vae=copy.deepcopy(vae).half(),
        tokenizer=llama_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        **half,
    )
    pipe.save_pretrained(folder, max_shard_size=WEIGHTS_BYTES)
    for name in ("text_encoder", "text_encoder_2"):  # transformers loads in the type named here
        path = folder / name / "config.json"
        config = json.loads(path.read_text()) | {"dtype": "float32"}
        path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def _hear_before(attention: torch.nn.Module, frequencies: torch.Tensor) -> None:
    """Starts head h listening to the word h + 1 places before, so that word order counts.

    A constant key (a, 0) and query (a cos(d f), -a sin(d f)) for each rotary frequency f give the
    logit a^2 sum cos((m - n - d) f), which is largest where the distance m - n is d.
    """
    loudness = 5.0
    for bias, turned in ((attention.k_proj.bias, 0.0), (attention.q_proj.bias, 1.0)):
        heads = bias.view(-1, 2, len(frequencies))
        angle = turned * torch.arange(1, len(heads) + 1)[:, None] * frequencies
        heads[:, 0], heads[:, 1] = loudness * angle.cos(), -loudness * angle.sin()
    for projection in (attention.v_proj, attention.o_proj):
        torch.nn.init.normal_(projection.weight, std=0.06)


def _chains(words: list[str], ending: str = "") -> list[tuple[str, str]]:
    """Lists the merges that build each word from its first letter on, shortest first."""
    chains = set()
    for word in words:
        letters = list(word.removesuffix(ending))
        letters[-1] += ending
        for length in range(1, len(letters)):
            chains.add(("".join(letters[:length]), letters[length]))
    return sorted(chains, key=lambda pair: (len(pair[0]), pair))
