"""What is cached of one denoiser: a binding runs passes in full, or from a feature.

`stack`: r = (hidden states after the last block) - (hidden states before the first), image tokens
only; a cached pass is head(embed(latent) + r) and walks no block. `module`: the outputs of every
layer before the gate, as in the paper. `output`: what the denoiser returns; a cached pass does not
call it at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import UnsupportedPipelineError
from . import adapters
from .adapters import Adapter
from .features import Feature, leaves, rebuild
from .stand_ins import (
    Given,
    HeadProbe,
    HeadWithResidual,
    InputRecorder,
    Memo,
    NoBlocks,
    Nothing,
    OutputRecorder,
    PassThrough,
    Remembered,
    Swap,
    remembered,
    swapped,
)

Call = Callable[[], Any]  # runs the denoiser with the arguments of one call


class Binding(Protocol):
    """One granularity on one denoiser; `ignores_arguments`: a cached pass does not call it;
    `runs_blocks`: it runs blocks, with what is cached in them."""

    ignores_arguments: bool
    runs_blocks: bool

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
    return (Stack if granularity == "stack" else Module)(transformer, adapter)


def without_blocks(transformer: nn.Module, adapter: Adapter) -> list[Swap]:
    """Stand-ins under which no block runs, nor what only the blocks use."""
    swaps: list[Swap] = [
        (transformer, blocks.name, NoBlocks(getattr(transformer, blocks.name)))
        for blocks in adapter.blocks
    ]
    swaps += [
        (transformer, name, PassThrough(getattr(transformer, name)))
        for name in adapter.conditioning
    ]
    return swaps


def _per_step(transformer: nn.Module, adapter: Adapter) -> list[Swap]:
    return [
        (transformer, name, Remembered(getattr(transformer, name), name))
        for name in adapter.per_step
    ]


def _first_block(transformer: nn.Module, adapter: Adapter) -> tuple[nn.Module, str, nn.Module]:
    owner = next(blocks for b in adapter.blocks if len(blocks := getattr(transformer, b.name)) > 0)
    return owner, "0", owner[0]


class Stack:
    """The residual of the whole block stack, one tensor (batch, image tokens, channels)."""

    ignores_arguments = False
    runs_blocks = False

    def __init__(self, transformer: nn.Module, adapter: Adapter) -> None:
        owner, name, block = _first_block(transformer, adapter)
        self._entry = InputRecorder(block)
        head = getattr(transformer, adapter.head)
        self._exit = HeadProbe(head)
        self._head = HeadWithResidual(head)
        self._per_step = _per_step(transformer, adapter)
        self._recording: list[Swap] = [
            *self._per_step,
            (owner, name, self._entry),
            (transformer, adapter.head, self._exit),
        ]
        self._skipping: list[Swap] = [
            *self._per_step,
            *without_blocks(transformer, adapter),
            (transformer, adapter.head, self._head),
        ]

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        try:
            with remembered(self._per_step, memo), swapped(self._recording):
                output = call()
            before, after = self._entry.seen, self._exit.seen
            if before is None or not after or after[0].shape != before.shape:
                return output, None
            return output, after[0] - before
        finally:
            self._entry.seen, self._exit.seen = None, ()

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        self._head.residual = feature
        try:
            with remembered(self._per_step, memo), swapped(self._skipping):
                return call()
        finally:
            self._head.residual = None


class Module:
    """The features of every layer before the gate, one tuple in the order of the layers."""

    ignores_arguments = False
    runs_blocks = True

    def __init__(self, transformer: nn.Module, adapter: Adapter) -> None:
        self._recorders: list[OutputRecorder] = []
        self._givers: list[Given] = []
        self._per_step = _per_step(transformer, adapter)
        self._recording: list[Swap] = list(self._per_step)
        self._skipping: list[Swap] = list(self._per_step)
        for blocks in adapter.blocks:
            for block in getattr(transformer, blocks.name):
                for name in blocks.features:
                    self._add_site(block, name)
                self._skipping += [
                    (block, name, Nothing(getattr(block, name))) for name in blocks.bypass
                ]

    def _add_site(self, block: nn.Module, name: str) -> None:
        module = getattr(block, name)
        self._recorders.append(OutputRecorder(module))
        self._givers.append(Given(module))
        self._recording.append((block, name, self._recorders[-1]))
        self._skipping.append((block, name, self._givers[-1]))

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        try:
            with remembered(self._per_step, memo), swapped(self._recording):
                output = call()
            feature = tuple(recorder.seen for recorder in self._recorders)
            return output, None if any(leaf is None for leaf in feature) else feature
        finally:
            for recorder in self._recorders:
                recorder.seen = None

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        for giver, value in zip(self._givers, feature, strict=True):
            giver.value = value
        try:
            with remembered(self._per_step, memo), swapped(self._skipping):
                return call()
        finally:
            for giver in self._givers:
                giver.value = None


class Output:
    """The tensors the denoiser returned; copies, since a pipeline may write into what it is given."""

    ignores_arguments = True
    runs_blocks = False

    def full(self, call: Call, memo: Memo) -> tuple[Any, Feature]:
        output = call()
        feature = tuple(leaf.clone() for leaf in leaves(output))
        return output, feature or None

    def cached(self, call: Call, feature: Feature, like: Any, memo: Memo) -> Any:
        return rebuild(like, tuple(leaf.clone() for leaf in feature))


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
        self._block = _first_block(transformer, adapter)[2]
        self._probe = HeadProbe(getattr(transformer, adapter.head))
        self._skipping = [
            *without_blocks(transformer, adapter),
            (transformer, adapter.head, self._probe),
        ]

    def __call__(self, call: Call, kwargs: dict[str, Any]) -> Tensor:
        """The signal for the latent of this call."""
        try:
            with swapped(self._skipping):
                call()
            hidden, *head = self._probe.seen
            return self._measure(self._block, hidden, tuple(head), kwargs)
        finally:
            self._probe.seen = ()


@dataclass(frozen=True)
class Denoiser:
    """One denoiser, what is cached of it, and TeaCache's signal where that decides."""

    module: nn.Module
    binding: Binding
    signal: Signal | None = None
