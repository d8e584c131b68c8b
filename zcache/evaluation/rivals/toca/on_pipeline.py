"""ToCa and DuCa on a pipeline: context managers that take their cache off again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ....caching.bindings import inner
from ..stepwise import Branch, Call, StepCache, described
from . import rules
from .layers import Tokens
from .rules import Kind, Settings


@contextmanager
def toca(
    pipe: Any,
    interval: int,
    ratio: float | None = None,
    warmup: int | None = None,
    coded: bool = False,
) -> Iterator[TokenCache]:
    """ToCa, token-wise feature caching (arXiv:2410.05317), without reflection; the settings are those
    of `rules.Settings`.

    Raises:
        ConfigError: a setting is outside its limits; during a run, an interval above its steps.
        UnsupportedPipelineError: there are no rules for this transformer, or its scheduler cannot
            be followed.
        AlreadyEnabledError: the pipeline has a cache already.
    """
    with _on(pipe, Settings(interval, ratio, warmup, coded)) as cache:
        yield cache


@contextmanager
def duca(
    pipe: Any,
    interval: int,
    ratio: float | None = None,
    warmup: int | None = None,
    coded: bool = False,
) -> Iterator[TokenCache]:
    """DuCa, dual feature caching (arXiv:2412.18911): ToCa whose cached steps alternate with steps that
    run no block; raises as `toca`."""
    with _on(pipe, Settings(interval, ratio, warmup, coded, dual=True)) as cache:
        yield cache


@contextmanager
def _on(pipe: Any, settings: Settings) -> Iterator[TokenCache]:
    cache = TokenCache(pipe, settings)
    with cache.on():
        yield cache


class TokenCache(StepCache[Kind]):
    """The cache while it is on a pipeline; every branch of guidance has a store of its own."""

    title = "ToCa or DuCa"

    def __init__(self, pipe: Any, settings: Settings) -> None:
        super().__init__(pipe)
        self._settings = settings
        self._rules = [rules.find(type(inner(denoiser)).__name__) for denoiser in self.denoisers]
        self._adapters = [described(denoiser, "ToCa and DuCa") for denoiser in self.denoisers]
        self._stores: dict[Branch, Tokens] = {}

    def forget(self) -> None:
        self._stores = {}

    def is_full(self, step: Kind) -> bool:
        return step is Kind.FULL

    def check(self, num_steps: int) -> None:
        rules.check(self._settings, num_steps)

    def plan(self, begin: int, num_steps: int) -> tuple[Kind, ...]:
        settings = self._settings
        if begin:  # image-to-image asks for steps of which it takes the last
            settings = replace(settings, interval=min(settings.interval, num_steps))
        return rules.plan(settings, self._rules[0], num_steps)

    def compute(self, branch: Branch, step: int, call: Call) -> Any:
        kind = self.steps[step] if step < len(self.steps) else Kind.FULL
        index, number = branch
        if kind is Kind.FULL and number == 0:
            self._stores = {}
        if kind is Kind.FULL or branch not in self._stores:
            self._stores[branch] = Tokens(
                inner(self.denoisers[index]),
                self._adapters[index],
                self._rules[index],
                self._settings,
            )
            return self._stores[branch].full(call)
        if kind is Kind.SKIP:
            return self._stores[branch].skip(call)
        return self._stores[branch].tokens(call, step, len(self.steps))
