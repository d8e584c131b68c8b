"""Where the features live in each supported transformer. A model is described here, never copied.

To add one: one `register` line, one row in tests/pipelines.py, one row in the README.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import UnsupportedPipelineError

Signal = Callable[[nn.Module, Tensor, tuple[Any, ...], Mapping[str, Any]], Tensor]


@dataclass(frozen=True)
class Blocks:
    """The feature sites of one list of transformer blocks.

    Args:
        name: attribute of the transformer that holds the ModuleList.
        features: submodules of each block whose output is a feature h^l: gated and added to the
            residual after they return, so replacing the output replaces exactly the feature before
            the gate.
        bypass: submodules whose output only feeds a feature, and need not run once it is known.
    """

    name: str
    features: tuple[str, ...]
    bypass: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adapter:
    """One transformer class.

    Args:
        blocks: its block lists in the order of the forward.
        head: the first module after the last block; gets the hidden states as first positional
            argument.
        conditioning: modules between the inputs and the blocks whose result nothing but the blocks
            uses.
        per_step: modules that see the timestep and the prompt, never the latent.
        signal: TeaCache's signal from (first block, embedded hidden states, the head's other
            arguments, the call's keyword arguments); None where nothing is published and nothing
            fits.
        constant_guidance: whether its pipelines combine the calls of a step with factors that stay
            the same along a run.
    """

    blocks: tuple[Blocks, ...]
    head: str = "norm_out"
    conditioning: tuple[str, ...] = ()
    per_step: tuple[str, ...] = ()
    signal: Signal | None = None
    constant_guidance: bool = field(default=True)


_adapters: dict[str, Adapter] = {}


def register(transformer_class: str, adapter: Adapter) -> None:
    """Describe a transformer class, by name: listing a model imports nothing."""
    _adapters[transformer_class] = adapter


def names() -> tuple[str, ...]:
    """The transformer classes that are described."""
    return tuple(_adapters)


def find(transformer: nn.Module) -> Adapter | None:
    """The description of this transformer, or None."""
    return _adapters.get(type(transformer).__name__)


def check(transformer: nn.Module, adapter: Adapter) -> None:
    """Raise UnsupportedPipelineError if a described attribute is not there (another diffusers
    version)."""
    wanted = [
        (transformer, name) for name in (adapter.head, *adapter.conditioning, *adapter.per_step)
    ]
    for blocks in adapter.blocks:
        wanted.append((transformer, blocks.name))
        for block in getattr(transformer, blocks.name, ()):
            wanted += [(block, name) for name in (*blocks.features, *blocks.bypass)]
    for owner, name in wanted:
        if name not in owner._modules:
            import diffusers

            raise UnsupportedPipelineError(
                f"{type(owner).__name__} has no submodule {name!r} in diffusers {diffusers.__version__}; "
                "use granularity='output', or a diffusers version that zcache names in its README"
            )


def _first_norm(
    block: nn.Module, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """Image tokens through the first block's adaptive norm: normalised, scaled, shifted."""
    return block.norm1(hidden, emb=head[0])[0]


def _first_norm_hunyuan(
    block: nn.Module, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    """As `_first_norm`. In image-to-video the given frame's modulation never changes; it is left out
    by letting the other frames' stand for it."""
    if type(block.norm1).__name__.startswith("HunyuanVideoTokenReplace"):
        return block.norm1(hidden, head[0], head[0], 0)[0]
    return _first_norm(block, hidden, head, call)


def _first_norm_dit(
    block: nn.Module, hidden: Tensor, head: tuple[Any, ...], call: Mapping[str, Any]
) -> Tensor:
    return block.norm1(hidden, call["timestep"], call["class_labels"], hidden_dtype=hidden.dtype)[0]


_DOUBLE = Blocks("transformer_blocks", ("attn", "ff", "ff_context"))
_SINGLE = Blocks("single_transformer_blocks", ("proj_out",), bypass=("attn", "proj_mlp", "act_mlp"))

register(
    "FluxTransformer2DModel",
    Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        per_step=("time_text_embed",),
        signal=_first_norm,
    ),
)
register(
    "HunyuanVideoTransformer3DModel",
    Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "rope"),
        per_step=("time_text_embed",),
        signal=_first_norm_hunyuan,
    ),
)
register(
    "HunyuanVideo15Transformer3DModel",
    Adapter(
        (_DOUBLE,),
        conditioning=("rope",),
        per_step=("time_embed", "context_embedder", "context_embedder_2", "image_embedder"),
        signal=_first_norm,
    ),
)
register(
    "DiTTransformer2DModel",
    Adapter((Blocks("transformer_blocks", ("attn1", "ff")),), signal=_first_norm_dit),
)
