"""How a transformer is described: where its features live, and what its pipelines do with its output.

A model is described by a little data, never copied; the `families_*` files hold the entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .signals import Embedding

Signal = Callable[[Any, Tensor, tuple[Any, ...], Mapping[str, Any]], Tensor]


@dataclass(frozen=True)
class Blocks:
    """The feature sites of one list of transformer blocks. Names may be paths (`block.attn1`).

    Args:
        name: attribute of the transformer that holds the ModuleList.
        features: submodules of a block whose output is a feature h^l: gated and added to the
            residual after they return, so replacing the output replaces exactly the feature before
            the gate. A block may lack some of them (SD3's last), not all blocks all of one.
        bypass: submodules whose output only feeds a feature, and need not run once it is known.
        returns: the arguments that a block hands back changed, in order; needed where it is walked,
            or where it splits its tokens among processes (context parallelism).
        walked: whether the forward reads variables that only its loop sets, so that the loop cannot
            simply be left out.
    """

    name: str
    features: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    walked: bool = False


@dataclass(frozen=True)
class Adapter:
    """One transformer class.

    Args:
        blocks: its block lists in the order of the forward.
        head: the first module after the last block; gets the hidden states as first positional
            argument. `name.*` stands for every child of a container, of which one runs.
        other_heads: the same of further streams (LTX-2's audio); needs `joined`.
        joined: the head is given other tokens than the first block (text and image joined,
            reordered, refined first): the stack's residual is then measured against a pass without
            blocks, which costs one cached pass per full step.
        conditioning: modules between the inputs and the blocks whose result nothing but the blocks
            uses, not even its width.
        kept: lists of modules that run in every pass (projections of the text).
        per_step: modules that see the timestep and the prompt, never the latent's values, and whose
            result nobody edits in place. May be None in a model.
        signal: TeaCache's signal from (first block, embedded hidden states, the head's other
            arguments, the call's keyword arguments), or the embedding that is it; None where
            nothing is published and nothing fits.
        variant: which of the models that share the class, from its config; '' where it matters not.
        guidance: what its pipelines do between the calls and the scheduler, for the reader.
        no_module: why granularity `module` is not offered, if it is not.
    """

    blocks: tuple[Blocks, ...]
    head: str = "norm_out"
    other_heads: tuple[str, ...] = ()
    joined: bool = False
    conditioning: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    per_step: tuple[str, ...] = ()
    signal: Signal | Embedding | None = None
    variant: Callable[[Any], str] | None = None
    guidance: str = "classifier-free"
    no_module: str = ""

    @property
    def granularities(self) -> tuple[str, ...]:
        """What can be cached of it."""
        described = any(blocks.features for blocks in self.blocks)
        return ("output", "stack", "module") if described else ("output", "stack")


# What many families share.
DOUBLE = Blocks("transformer_blocks", ("attn", "ff", "ff_context"))
SINGLE = Blocks("single_transformer_blocks", ("proj_out",), bypass=("attn", "proj_mlp", "act_mlp"))
CROSS = Blocks("transformer_blocks", ("attn1", "attn2", "ff"))
EMBEDDED = "embedded; classifier-free with a constant scale if asked for"
