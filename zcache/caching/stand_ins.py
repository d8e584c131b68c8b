"""Stand-ins for submodules of a transformer, in place for the length of one pass and gone after it.

Between two passes the transformer is exactly as its owner left it: no hook, no attribute, no other
forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .features import Feature

Memo = dict[str, Any]  # results of one denoiser call that do not depend on the latent, by submodule
Swap = tuple[nn.Module, str, nn.Module]  # owner, name of the submodule, stand-in


@contextmanager
def swapped(swaps: Iterable[Swap]) -> Iterator[None]:
    """Put every stand-in in its place, and every original back, whatever happens in between."""
    replaced: list[Swap] = []
    try:
        for owner, name, stand_in in swaps:
            replaced.append((owner, name, owner._modules[name]))
            owner._modules[name] = stand_in
        yield
    finally:
        for owner, name, original in reversed(replaced):
            owner._modules[name] = original


class StandIn(nn.Module):
    """Answers for the original's attributes, without owning its parameters."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)


class InputRecorder(StandIn):
    """Runs the original and keeps the hidden states that entered it."""

    seen: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return self.original(*args, **kwargs)


class OutputRecorder(StandIn):
    """Runs the original and keeps what it returned."""

    seen: Feature = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = self.original(*args, **kwargs)
        return self.seen


class Given(StandIn):
    """Returns a known feature; the original does not run."""

    value: Feature = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.value


class HeadWithResidual(StandIn):
    """The head on hidden states to which the whole block stack's residual is added."""

    residual: Tensor | None = None

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.original(hidden + self.residual, *args, **kwargs)


class HeadProbe(StandIn):
    """Keeps what the head is given: embedded hidden states, since no block has run."""

    seen: tuple[Any, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = args
        return self.original(*args, **kwargs)


class NoBlocks(StandIn):
    """A block list over which a loop does nothing; its blocks can still be looked up by index."""

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(())

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: int) -> nn.Module:
        return self.original[index]


class Remembered(StandIn):
    """Runs the original once per memo: in a replay, what ignores the latent is the same."""

    memo: Memo | None = None

    def __init__(self, original: nn.Module, name: str) -> None:
        super().__init__(original)
        self.__dict__["name"] = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.memo is None:
            return self.original(*args, **kwargs)
        if self.name not in self.memo:
            self.memo[self.name] = self.original(*args, **kwargs)
        return self.memo[self.name]


@contextmanager
def remembered(swaps: Iterable[Swap], memo: Memo) -> Iterator[None]:
    """Let the `Remembered` stand-ins among the swaps use this memo for the length of one pass."""
    stand_ins = [stand_in for _, _, stand_in in swaps]
    for stand_in in stand_ins:
        stand_in.memo = memo
    try:
        yield
    finally:
        for stand_in in stand_ins:
            stand_in.memo = None


class PassThrough(StandIn):
    """Hands its first argument on, for results that nobody reads."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args[0]


class Nothing(StandIn):
    """Zero-width results in the shapes of the inputs, for what only feeds a replaced feature."""

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Any:
        if encoder_hidden_states is None:
            return hidden_states[..., :0]
        return hidden_states[..., :0], encoder_hidden_states[..., :0]
