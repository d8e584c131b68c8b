"""Spectrum (arXiv:2603.01623) as its authors run it.

From the paper and the description of its repository: cached are the hidden states that enter the head, as they
are, so that a cached pass is the head alone on the forecast and the latent plays no part in it; the full steps
stand in windows that grow; the forecast blends a Chebyshev fit over all full steps so far with the line
through the newest two. Weight 1/2, lambda 0.1, four columns besides the constant, windows from 2, and 0.75 more
after each, are those of their command for FLUX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...caching import adapters
from ...caching.bindings import inner
from ...caching.features import Feature
from ...caching.handle import ZCache
from ...caching.parts import Head, all_blocks, per_step, without_blocks
from ...caching.stand_ins import Memo, StandIn, Swap, remembered, swapped
from ...errors import ConfigError
from ...method import bases
from ...method import spectrum as chebyshev
from ...method.config import ZCacheConfig
from .driven import driven

WARMUP, WINDOW, FLEX, RIDGE = 5, 2.0, 0.75, 0.1


@contextmanager
def spectrum(
    pipe: Any,
    num_steps: int,
    window: float = WINDOW,
    flex: float = FLEX,
    weight: float = chebyshev.WEIGHT,
    ridge: float = RIDGE,
) -> Iterator[ZCache]:
    """Spectrum without reflection, for runs of `num_steps` steps.

    Raises:
        ConfigError: a setting outside its limits.
        UnsupportedPipelineError: the transformer is not described, or its scheduler cannot be followed.
    """
    config = ZCacheConfig(
        full_steps=growing(num_steps, window, flex),
        base=bases.TAYLORSEER,
        granularity="stack",
        reflect=False,
    )

    def base(anchors: Sequence[int], step: int, order: int) -> bases.Factors:
        return forecast(anchors, step, weight, ridge)

    def parts(denoiser: nn.Module, _: Any) -> dict[str, Any]:
        return {"binding": State(denoiser)}

    with driven(pipe, config, parts, base) as handle:
        yield handle


def growing(
    num_steps: int, window: float = WINDOW, flex: float = FLEX, warmup: int = WARMUP
) -> tuple[int, ...]:
    """The full steps: `warmup` at the beginning, then the last of every floor(window) steps, the window being
    `flex` longer after each.

    Raises:
        ConfigError: a window below 1, or one that shrinks.
    """
    if window < 1 or flex < 0:
        raise ConfigError(
            f"window is {window:g} and flex {flex:g}; give a window from 1 up and a flex from 0 up"
        )
    full, cached = [], 0
    for step in range(num_steps):
        if step < warmup:
            full.append(step)
        elif (cached + 1) % int(window) == 0:
            full.append(step)
            window, cached = round(window + flex, 3), 0
        else:
            cached += 1
    return tuple(full)


def matched(num_steps: int, count: int) -> float:
    """The least flex, in steps of 0.05, with at most `count` full steps of windows that grow from 2.

    Raises:
        ConfigError: fewer than the warm-up and one more.
    """
    if count <= WARMUP:
        raise ConfigError(
            f"{count} full steps are too few for Spectrum; give {WARMUP + 1} or more, its warm-up is {WARMUP}"
        )
    grid = (round(0.05 * i, 2) for i in range(20 * num_steps))
    return next(flex for flex in grid if len(growing(num_steps, WINDOW, flex)) <= count)


def forecast(
    anchors: Sequence[int],
    step: int,
    weight: float = chebyshev.WEIGHT,
    ridge: float = RIDGE,
) -> bases.Factors:
    """weight * Chebyshev fit + (1 - weight) * line, over all anchors that are held."""
    fit = chebyshev.fitted(anchors, step, ridge=ridge)
    line = bases.taylorseer(anchors, step, 1)
    line = (0.0,) * (len(fit) - len(line)) + line
    return tuple((1 - weight) * a + weight * b for a, b in zip(line, fit, strict=True))


class OnState(StandIn):
    """The head on given hidden states, whatever reaches it."""

    state: Tensor | None = None

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.original(self.state, *args, **kwargs)


class State:
    """Cached are the hidden states that enter each head, (batch, image tokens, channels)."""

    ignores_arguments = False

    def __init__(self, denoiser: nn.Module) -> None:
        transformer = inner(denoiser)
        adapter = adapters.find(transformer)
        assert adapter is not None  # granularity `stack` was bound before
        paths = (adapter.head, *adapter.other_heads)
        self._skipped = all_blocks(transformer, adapter)
        self._heads = [Head(transformer, path) for path in paths]
        self._given = [
            [(owner, name, OnState(owner.get_submodule(name))) for owner, name in found]
            for found in (adapters.resolve(transformer, path) for path in paths)
        ]
        self._per_step = per_step(transformer, adapter)
        probing = [swap for head in self._heads for swap in head.probing]
        self._recording: list[Swap] = [*self._per_step, *probing]
        self._skipping: list[Swap] = [*self._per_step, *without_blocks(transformer, adapter)]
        self._skipping += [swap for given in self._given for swap in given]

    def skipped(self) -> list[nn.Module]:
        return self._skipped

    def full(self, call: Any, memo: Memo) -> tuple[Any, Feature]:
        with remembered(self._per_step, memo), swapped(self._recording):
            output = call()
        seen = [head.taken() for head in self._heads]
        return output, tuple(args[0] for args in seen) if all(seen) else None

    def cached(self, call: Any, feature: Feature, like: Any, memo: Memo) -> Any:
        self._give(feature)
        try:
            with remembered(self._per_step, memo), swapped(self._skipping):
                return call()
        finally:
            self._give((None,) * len(self._given))

    def _give(self, states: Sequence[Tensor | None]) -> None:
        for given, state in zip(self._given, states, strict=True):
            for _, _, head in given:
                head.state = state
