"""TeaCache's signals, as its authors chose them for each model: what the first block makes of the
latent before it attends, or an embedding of the timestep alone. And which model a class is, where one
class serves several that were fitted apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def first_norm(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """Return image tokens through the first block's adaptive norm: normalised, scaled, shifted."""
    return block.norm1(hidden, emb=head[0])[0]


def first_norm_hunyuan(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """Do as `first_norm` does. In image-to-video the given frame's modulation never changes; it is
    left out: the other frames' modulation stands for it."""
    if type(block.norm1).__name__.startswith("HunyuanVideoTokenReplace"):
        return block.norm1(hidden, head[0], head[0], 0)[0]
    return first_norm(block, hidden, head, call)


def first_norm_dit(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """DiT's norm embeds timestep and label itself."""
    return block.norm1(hidden, call["timestep"], call["class_labels"], hidden_dtype=hidden.dtype)[0]


def first_norm_tensor(
    block: Any, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """Mochi and Cosmos: the norm takes the head's other arguments as they come."""
    return block.norm1(hidden, *head)[0]


def modulated(block: Any, hidden: Tensor, embedding: Tensor) -> Tensor:
    """LTX: the first norm, shifted and scaled by the block's table plus the timestep's embedding."""
    rows = block.scale_shift_table.shape[0]
    embedding = embedding.reshape(hidden.shape[0], -1, rows, hidden.shape[-1])
    shift, scale = (block.scale_shift_table.to(embedding) + embedding).unbind(dim=2)[:2]
    return block.norm1(hidden) * (1 + scale) + shift


@dataclass(frozen=True)
class Embedding:
    """The output of a submodule: the timestep's embedding, whatever the latent.

    `index`: which one, if there are several. `then`: what is made of it with the first block and the
    embedded hidden states; None takes it as it is.
    """

    path: str
    index: int | None = None
    then: Callable[[Any, Tensor, Tensor], Tensor] | None = None

    def measure(self, block: Any, hidden: Tensor, output: Any) -> Tensor:
        """Return the signal, from what the submodule returned."""
        embedding = output if self.index is None else output[self.index]
        return embedding if self.then is None else self.then(block, hidden, embedding)


def hunyuan_variant(config: Any) -> str:
    """Return the image-to-video task, '' for text-to-video."""
    return getattr(config, "image_condition_type", None) or ""


def wan_variant(config: Any) -> str:
    """By the number of layers; image-to-video by its additional channels."""
    size = {30: "1.3B", 40: "14B"}.get(config.num_layers, f"{config.num_layers} layers")
    return size if config.in_channels == config.out_channels else f"{size}, image to video"


def cogvideox_variant(config: Any) -> str:
    """CogVideoX 1.5 patches time, too; its image-to-video model embeds ofs."""
    if config.patch_size_t is not None:
        return "1.5-5B-I2V" if config.ofs_embed_dim is not None else "1.5-5B"
    return {30: "2b", 42: "5b"}.get(config.num_layers, f"{config.num_layers} layers")


def ltx_variant(config: Any) -> str:
    return {28: "2B", 48: "13B"}.get(config.num_layers, f"{config.num_layers} layers")


def cosmos_variant(config: Any) -> str:
    """Cosmos 1 adds a learnt positional embedding in every block."""
    return "1.0" if config.extra_pos_embed_type == "learnable" else "2"


def hidream_variant(config: Any) -> str:
    sizes = (config.num_layers, config.num_single_layers)
    return "I1" if sizes == (16, 32) else f"{sum(sizes)} layers"
