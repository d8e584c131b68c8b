"""What is cached of one denoiser: a binding runs passes in full, or from a feature.

`stack`: r = (hidden states after the last block) - (hidden states before the first), image tokens
only; a cached pass is head(embed(latent) + r) and walks no block. `module`: the outputs of every
layer before the gate, as in the paper. `output`: what the denoiser returns; a cached pass does not
call it at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import UnsupportedPipelineError
from . import adapters
from .features import Feature, leaves, rebuild
from .layers import Module
from .parts import Head, first_block, without_blocks
from .stack import Stack
from .stand_ins import Memo, swapped

Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class Binding(Protocol):
    """One granularity on one denoiser.

    `ignores_arguments`: a cached pass does not call it. `skipped()`: the modules that run in a full
    pass and in no cached one."""

    ignores_arguments: bool

    def skipped(self) -> list[nn.Module]: ...

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        """Run in full. Returns the denoiser's output and the feature, None if there is none."""

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        """Run from a feature. `like` is an output of the same call, for its container type."""


@dataclass
class Executions:
    """How often which modules ran."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@contextmanager
def executions(binding: Binding) -> Iterator[Executions]:
    """Count, by class, how often modules run that no cached pass of this binding may run."""
    seen = Executions()

    def note(module: nn.Module, *_: Any) -> None:
        name = type(module).__name__
        seen.counts[name] = seen.counts.get(name, 0) + 1

    hooks = [module.register_forward_pre_hook(note) for module in binding.skipped()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


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
    """The tensors the denoiser returned."""

    ignores_arguments = True

    def skipped(self) -> list[nn.Module]:
        return []

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        output = call()
        feature = tuple(leaves(output))
        return output, feature or None

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        return rebuild(like, feature)


class Signal:
    """TeaCache's signal of a denoiser: an embedding and a first adaptive norm, no block."""

    def __init__(self, denoiser: nn.Module) -> None:
        transformer = inner(denoiser)
        adapter = adapters.find(transformer)
        if adapter is None or adapter.signal is None:
            raise UnsupportedPipelineError(
                f"base 'teacache' has no signal for {type(transformer).__name__}; use base 'taylorseer' or 'fora'"
            )
        # Coefficients are fitted to a task, too: text-to-video's are not image-to-video's.
        task = getattr(transformer.config, "image_condition_type", None)
        self.model = type(transformer).__name__ + (f" ({task})" if task else "")
        self._measure = adapter.signal
        self._block = first_block(transformer, adapter)[2]
        self._head = Head(transformer, adapter.head)
        self._skipping = [*without_blocks(transformer, adapter), *self._head.probing]

    def __call__(self, call: Call, kwargs: dict[str, Any]) -> Tensor:
        """The signal for the latent of this call."""
        try:
            with swapped(self._skipping):
                call()
            hidden, *head = self._head.taken()
            return self._measure(self._block, hidden, tuple(head), kwargs)
        finally:
            self._head.taken()


@dataclass(frozen=True)
class Denoiser:
    """One denoiser, what is cached of it, and TeaCache's signal where that decides."""

    module: nn.Module
    binding: Binding
    signal: Signal | None = None
