"""What is cached of one denoiser: a binding runs passes in full, or from a feature.

`stack`: r = (hidden states after the last block) - (hidden states before the first), image tokens
only; a cached pass is head(embed(latent) + r) and walks no block. `module`: the outputs of every
layer before the gate, as in the paper. `output`: what the denoiser returns; a cached pass does not
call it at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import UnsupportedPipelineError
from ..method.config import AUTOMATIC
from ..method.teacache import COEFFICIENTS
from . import adapters, parallel
from .features import Feature, leaves, rebuild
from .layers import Module
from .parts import Head, first_block, without_blocks
from .signals import Embedding
from .stack import Stack
from .stand_ins import Memo, OutputRecorder, swapped

Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class Binding(Protocol):
    """One granularity on one denoiser.

    `ignores_arguments`: a cached pass does not call it. `walks_blocks`: it goes from block to block, where
    a control net adds to it. `skipped()`: the modules that no cached pass may run."""

    ignores_arguments: bool
    walks_blocks: bool

    def skipped(self) -> list[nn.Module]: ...

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        """Run in full. Returns the denoiser's output and the feature, None if there is none."""

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        """Run from a feature. `like` is an output of the same call, for its container type."""


def inner(denoiser: nn.Module) -> nn.Module:
    """The transformer itself, out of torch.compile's wrapper."""
    return getattr(denoiser, "_orig_mod", denoiser)


def bind(granularity: str, denoiser: nn.Module) -> Binding:
    """The binding of a granularity.

    Raises:
        UnsupportedPipelineError: the denoiser is not described and the granularity needs it to be.
    """
    if granularity == "output":
        return Output()
    if granularity == AUTOMATIC:  # until the first step has told more
        granularity = "stack"
    transformer = inner(denoiser)
    adapter = adapters.find(transformer)
    if adapter is None:
        known = ", ".join(adapters.names())
        raise UnsupportedPipelineError(
            f"granularity {granularity!r} does not know {type(transformer).__name__} (it knows: {known}); "
            "use granularity='output', which works for every denoiser, or describe the class with "
            "zcache.adapters.register"
        )
    adapters.check(transformer, adapter)
    if granularity not in adapter.granularities:
        raise UnsupportedPipelineError(
            f"granularity {granularity!r} is not offered for {type(transformer).__name__}: "
            f"{adapter.no_module or 'no features of its blocks are described'}; use granularity='stack'"
        )
    return (Stack if granularity == "stack" else Module)(transformer, adapter)


class Output:
    """The tensors the denoiser returned; copies, since a pipeline may write into what it is given."""

    ignores_arguments = True
    walks_blocks = False

    def skipped(self) -> list[nn.Module]:
        return []

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        output = call()
        feature = tuple(leaf.clone() for leaf in leaves(output))
        return output, feature or None

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        return rebuild(like, tuple(leaf.clone() for leaf in feature))


class Signal:
    """TeaCache's signal of a denoiser: an embedding and a first adaptive norm, no block. `coefficients`
    rescale its change; None where nobody has fitted any."""

    def __init__(self, denoiser: nn.Module) -> None:
        transformer = inner(denoiser)
        adapter = adapters.find(transformer)
        if adapter is None or adapter.signal is None:
            raise UnsupportedPipelineError(
                f"base 'teacache' has no signal for {type(transformer).__name__}; use base 'taylorseer' or 'fora'"
            )
        # Coefficients are fitted to a size and a task, too: text-to-video's are not image-to-video's.
        variant = adapter.variant(transformer.config) if adapter.variant is not None else ""
        self.model = type(transformer).__name__ + (f" ({variant})" if variant else "")
        self.coefficients: Sequence[float] | None = COEFFICIENTS.get(self.model)
        self._transformer, self._signal = transformer, adapter.signal
        self._block = first_block(transformer, adapter)[2]
        self._head = Head(transformer, adapter.head)
        self._skipping = [*without_blocks(transformer, adapter), *self._head.probing]
        self._embedding: Any = None
        if isinstance(adapter.signal, Embedding):
            ((owner, name),) = adapters.resolve(transformer, adapter.signal.path)
            self._embedding = OutputRecorder(owner.get_submodule(name))
            self._skipping.append((owner, name, self._embedding))

    def __call__(self, call: Call, kwargs: dict[str, Any]) -> Tensor:
        """The signal for the latent of this call."""
        try:
            with swapped(self._skipping):
                call()
            hidden, *head = self._head.taken()
            if isinstance(self._signal, Embedding):
                signal = self._signal.measure(self._block, hidden, self._embedding.seen)
            else:
                signal = self._signal(self._block, hidden, tuple(head), kwargs)
            return parallel.gathered(self._transformer, signal)
        finally:
            self._head.taken()
            if self._embedding is not None:
                self._embedding.seen = None


@dataclass(frozen=True)
class Denoiser:
    """One denoiser, what is cached of it, and TeaCache's signal where that decides."""

    module: nn.Module
    binding: Binding
    signal: Signal | None = None
