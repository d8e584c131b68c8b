"""ToCa's layers: stand-ins in the transformer's own blocks that compute only the chosen tokens.

At a tokens step attention returns what it returned at the last full step, an MLP runs on the chosen
tokens alone, and its results replace theirs in the store. In a single-stream block the one projection
of attention and MLP is an MLP too: it is run on the chosen tokens, with their stored attention.

The score of a token (ToCa, Section 3.2) is s1 + 0.25 s3, and on DiT s4 on top. Choices:

- s1, a token's influence through attention, is read off its value vectors (DuCa's option for fused
  attention), because the attention map that ToCa sums up would forbid fused kernels: norms over the
  channels of a head, divided by the largest among the tokens; 1 minus that, summed over the heads;
  L2-normalised over the tokens. The published sum does not divide; so s1 is never negative here, and
  s4's bonus never a malus.
- s2 (entropy of cross-attention) does not exist in these models.
- s3 counts the tokens steps since a token was computed, over N.
- s4 is on where published, on DiT; an odd side's last row or column makes patches of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ....caching.adapters import Adapter, Blocks
from ....caching.parts import without_blocks
from ....caching.stand_ins import HeadProbe, OutputRecorder, StandIn, Swap, swapped
from ....errors import UnsupportedPipelineError
from .rules import STALENESS, Rules, Settings, share

Call = Callable[[], Any]


def importance(value: Tensor, heads: int) -> Tensor:
    """s1 of tokens (batch, tokens) from their values (batch, tokens, channels of all heads)."""
    norms = value.unflatten(-1, (heads, -1)).float().norm(dim=-1)
    largest = norms.amax(dim=1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny)
    return F.normalize((1 - norms / largest).sum(-1), dim=1)


def spread_out(score: Tensor, bonus: float) -> Tensor:
    """s4: scores (batch, tokens) of a square of tokens, the best of every 2x2 patch times 1 + bonus.

    Raises:
        UnsupportedPipelineError: the tokens make no square.
    """
    side = round(score.shape[1] ** 0.5)
    if side * side != score.shape[1]:
        raise UnsupportedPipelineError(
            f"{score.shape[1]} tokens make no square, whose 2x2 patches ToCa spreads its choice over on DiT; "
            "draw a square picture"
        )
    grid = score.unflatten(1, (1, side, side))
    best = F.max_pool2d(grid, 2, ceil_mode=True)
    best = best.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :side, :side]
    return torch.where(grid == best, grid * (1 + bonus), grid).flatten(1)


class Layer:
    """What is kept of one MLP: its output (batch, tokens, channels), and its tokens' scores."""

    def __init__(self, interval: int, bonus: float) -> None:
        self._interval, self._bonus = interval, bonus
        self.importance: Tensor | None = None
        self.share = 0.0

    def keep(self, feature: Tensor) -> None:
        """Take the output of a full step.

        Raises:
            UnsupportedPipelineError: no values were seen, since q, k and v come from one matrix.
        """
        if self.importance is None:
            raise UnsupportedPipelineError(
                "attention did not call to_v or add_v_proj, from which ToCa and DuCa score tokens; "
                "call pipe.transformer.unfuse_qkv_projections() first"
            )
        self.feature, self.scores = feature, self.importance
        self.age = torch.zeros_like(self.importance)

    def choose(self) -> None:
        """Take the best int(share x tokens) of every sample to be computed; all others grow older."""
        score = self.scores + STALENESS * self.age / self._interval
        if self._bonus:
            score = spread_out(score, self._bonus)
        self.chosen = score.topk(int(self.share * score.shape[1]), dim=1).indices
        self.age = (self.age + 1).scatter(1, self.chosen, 0.0)

    def pick(self, tokens: Tensor) -> Tensor:
        """The chosen ones of (batch, tokens, channels)."""
        return tokens.gather(1, self._rows(tokens))

    def put(self, computed: Tensor) -> Tensor:
        """The stored output with the chosen tokens' replaced, which is also stored."""
        rows = self._rows(self.feature)
        self.feature = self.feature.scatter(1, rows, computed.to(self.feature.dtype))
        return self.feature

    def _rows(self, tokens: Tensor) -> Tensor:
        return self.chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])


class Of(StandIn):
    """A stand-in that belongs to a layer."""

    def __init__(self, original: nn.Module, layer: Layer) -> None:
        super().__init__(original)
        self.layer = layer


class Values(Of):
    """Runs the projection to values and scores the tokens by them."""

    def __init__(self, original: nn.Module, layer: Layer, heads: int) -> None:
        super().__init__(original, layer)
        self.heads = heads

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        value = self.original(*args, **kwargs)
        self.layer.importance = importance(value, self.heads)
        return value


class Kept(Of):
    """Runs an MLP on all tokens and keeps its output."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        feature = self.original(*args, **kwargs)
        self.layer.keep(feature)
        return feature


class Chosen(Of):
    """Chooses tokens and runs the first half of an MLP on them; returns only them."""

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.layer.choose()
        return self.original(self.layer.pick(tokens), *args, **kwargs)


class Put(Of):
    """Runs the second half on the chosen tokens and returns all."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.layer.put(self.original(*args, **kwargs))


class ChosenAndPut(Chosen):
    """Chooses tokens, runs an MLP on them, and returns all."""

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.layer.put(super().forward(tokens, *args, **kwargs))


class Again(StandIn):
    """Returns what a recorder saw last."""

    def __init__(self, recorder: OutputRecorder) -> None:
        super().__init__(recorder.original)
        self.__dict__["recorder"] = recorder  # no submodule: an original is looked up before those

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.recorder.seen


class ChosenAgain(Again):
    """Returns the chosen rows of it. HunyuanVideo's attention returns two streams, which its block
    joins again: the rows stand in the first, the second is empty."""

    def __init__(self, recorder: OutputRecorder, layer: Layer) -> None:
        super().__init__(recorder)
        self.layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.recorder.seen, Tensor):
            return self.layer.pick(self.recorder.seen)
        tokens = torch.cat(self.recorder.seen, dim=1)
        return self.layer.pick(tokens), tokens[:, :0]


class HeadAgain(StandIn):
    """The head on the hidden states that it saw last, with the arguments of now."""

    def __init__(self, probe: HeadProbe) -> None:
        super().__init__(probe.original)
        self.__dict__["probe"] = probe

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.original(self.probe.seen[0], *args, **kwargs)


class Tokens:
    """The store of one denoiser call of the steps between two full ones (one branch of guidance)."""

    def __init__(
        self, transformer: nn.Module, adapter: Adapter, rules: Rules, settings: Settings
    ) -> None:
        self._rules, self._settings = rules, settings
        self._layers: list[tuple[Layer, str, int, int]] = []
        self._full: list[Swap] = []
        self._tokens: list[Swap] = []
        for blocks in adapter.blocks:
            listed = getattr(transformer, blocks.name)
            for index, block in enumerate(listed):
                self._add(block, blocks, index, len(listed))
        probe = HeadProbe(getattr(transformer, adapter.head))
        self._full.append((transformer, adapter.head, probe))
        self._tokens.append((transformer, adapter.head, probe))
        head = (transformer, adapter.head, HeadAgain(probe))
        self._skip = [*without_blocks(transformer, adapter), head]

    def full(self, call: Call) -> Any:
        """Compute everything and keep it."""
        with swapped(self._full):
            return call()

    def tokens(self, call: Call, step: int, num_steps: int) -> Any:
        """Compute the MLPs of the chosen tokens."""
        for layer, stream, index, blocks in self._layers:
            layer.share = share(self._settings, self._rules, stream, index, blocks, step, num_steps)
        with swapped(self._tokens):
            return call()

    def skip(self, call: Call) -> Any:
        """Compute the head on the tokens that entered it last (DuCa's aggressive caching)."""
        with swapped(self._skip):
            return call()

    def _add(self, block: nn.Module, blocks: Blocks, index: int, count: int) -> None:
        single = blocks.features == ("proj_out",)
        name = "attn" if single else blocks.features[0]
        attention = OutputRecorder(getattr(block, name))
        self._full.append((block, name, attention))
        if single:
            layer = self._scored(attention.original, "to_v", blocks.name, index, count)
            last = block.get_submodule("proj_out")
            self._full.append((block, "proj_out", Kept(last, layer)))
            self._tokens += [
                (block, "proj_mlp", Chosen(block.get_submodule("proj_mlp"), layer)),
                (block, name, ChosenAgain(attention, layer)),
                (block, "proj_out", Put(last, layer)),
            ]
            return
        self._tokens.append((block, name, Again(attention)))
        for mlp, value in zip(blocks.features[1:], ("to_v", "add_v_proj"), strict=False):
            layer = self._scored(attention.original, value, blocks.name, index, count)
            original = getattr(block, mlp)
            self._full.append((block, mlp, Kept(original, layer)))
            self._tokens.append((block, mlp, ChosenAndPut(original, layer)))

    def _scored(
        self, attention: nn.Module, value: str, stream: str, index: int, count: int
    ) -> Layer:
        layer = Layer(self._settings.interval, self._rules.spread[self._settings.dual])
        self._layers.append((layer, stream, index, count))
        heads: Any = attention.heads
        values = Values(getattr(attention, value), layer, heads)
        self._full.append((attention, value, values))
        return layer
