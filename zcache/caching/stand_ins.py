"""Stand-ins for submodules of a transformer, in place for the length of one pass and gone after it.

Between two passes the transformer is exactly as its owner left it: no hook, no attribute, no other
forward. What a stand-in stands for is looked up anew at every pass, so adapters (LoRA) that were
put in or taken out in between are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from . import parallel
from .features import Feature, clipped

Memo = dict[Any, Any]  # results of one denoiser call that do not depend on the latent's values
Swap = tuple[nn.Module, str, nn.Module]  # owner, name of the submodule, stand-in


@contextmanager
def swapped(swaps: Iterable[Swap]) -> Iterator[None]:
    """Put every stand-in in its place, and every original back, whatever happens in between."""
    replaced: list[tuple[nn.Module, str, nn.Module | None]] = []
    try:
        for owner, name, stand_in in swaps:
            original = owner._modules[name]
            if isinstance(stand_in, StandIn):
                stand_in.__dict__["original"] = original
            replaced.append((owner, name, original))
            owner._modules[name] = stand_in
        yield
    finally:
        for owner, name, original in reversed(replaced):
            owner._modules[name] = original


class StandIn(nn.Module):
    """Answers for the original's attributes and parameters, without owning them."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = original

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        return self.original.named_parameters(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """A scale of LoRA that a call is given is set on all modules inside of it."""
        return self.original.named_modules(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)


class InputRecorder(StandIn):
    """Runs the original and keeps the hidden states that entered it."""

    seen: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inside, named = parallel.entering(self.original, args, kwargs)
        self.seen = named["hidden_states"] if "hidden_states" in named else inside[0]
        return self.original(*args, **kwargs)


class OutputRecorder(StandIn):
    """Runs the original and keeps what it returned last."""

    seen: Feature = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = self.original(*args, **kwargs)
        return self.seen


class OutputsRecorder(StandIn):
    """Runs the original and keeps what it returned at every call."""

    seen: tuple[Feature, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.original(*args, **kwargs)
        self.seen = (*self.seen, output)
        return output


class Given(StandIn):
    """Returns known features, one a call; the original does not run."""

    values: tuple[Feature, ...] = ()
    calls: int = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.values[self.calls - 1]


class HeadWithResidual(StandIn):
    """The head on hidden states to which the whole block stack's residual is added."""

    residual: Any = None

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.original(clipped(hidden + self.residual), *args, **kwargs)


class HeadProbe(StandIn):
    """Keeps what the head is given: embedded hidden states, since no block has run."""

    seen: tuple[Any, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = args
        return self.original(*args, **kwargs)


class Unchanged(StandIn):
    """A block that does nothing: hands back the arguments it would have changed, split among the
    processes where the block's would be."""

    def __init__(self, original: nn.Module, returns: tuple[str, ...]) -> None:
        super().__init__(original)
        self.__dict__["returns"] = returns

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inside = parallel.entering(self.original, args, kwargs)
        values = tuple(parallel.named(self.original, inside, name) for name in self.returns)
        return values if len(values) > 1 else values[0]


class NoBlocks(StandIn):
    """A block list over which a loop does nothing; its blocks can still be looked up by index.

    Args:
        returns: what a block hands back.
        walked: whether the loop is walked all the same, over blocks that change nothing. A first
            block that splits its tokens among processes is walked anyway.
    """

    def __init__(
        self, original: nn.Module, returns: tuple[str, ...] = (), walked: bool = False
    ) -> None:
        super().__init__(original)
        self.__dict__.update(returns=returns, walked=walked)

    def __iter__(self) -> Iterator[nn.Module]:
        blocks = list(self.original)
        if not self.walked:
            blocks = [b for b in blocks[:1] if self.returns and parallel.is_split(b)]
        return iter([Unchanged(block, self.returns) for block in blocks])

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        return self.original[index]


class Remembered(StandIn):
    """Runs the original once per memo and place in the pass: in a replay, what ignores the latent is
    the same."""

    memo: Memo | None = None
    calls: int = 0

    def __init__(self, original: nn.Module, name: str) -> None:
        super().__init__(original)
        self.__dict__["name"] = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.memo is None:
            return self.original(*args, **kwargs)
        key = (self.name, self.calls)
        self.calls += 1
        if key not in self.memo:
            self.memo[key] = self.original(*args, **kwargs)
        return self.memo[key]


@contextmanager
def remembered(swaps: Iterable[Swap], memo: Memo) -> Iterator[None]:
    """Let the `Remembered` stand-ins among the swaps use this memo for the length of one pass."""
    stand_ins: list[Any] = [stand_in for _, _, stand_in in swaps]
    for stand_in in stand_ins:
        stand_in.memo, stand_in.calls = memo, 0
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
