"""A machine whose pace the test sets: time goes by only where a transformer works.

A call of the transformer takes `CALL` seconds, a block of it `BLOCK` more, each times `pace`. Cached
passes run no block, so a full step and a cached one have a known price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from zcache import ZCacheConfig
from zcache.caching import report
from zcache.measure import clock, compare

CALL, BLOCK = 0.03, 1.0


class Machine:
    """Its `pace` multiplies all that takes time; `of` tells the pace of each side's run: that of
    "plain", "accelerated" or "alone"."""

    def __init__(self, blocks: int) -> None:
        self.now, self.pace, self.blocks = 1000.0, 1.0, blocks
        self.of: Callable[[str], float] = lambda side: 1.0

    @property
    def full(self) -> float:
        """Seconds of a full step at pace 1."""
        return CALL + self.blocks * BLOCK

    def ratio(self, config: ZCacheConfig, steps: int) -> float:
        """The speedup that any clock should show."""
        walk = config.plan(steps).walk
        full = len(config.plan(steps).full_steps)
        return steps * self.full / (full * self.full + (len(walk) - full) * CALL)

    def work(self, seconds: float) -> None:
        self.now += seconds * self.pace


@contextmanager
def machine(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Put the clocks of zcache on a machine that only this pipeline keeps busy."""
    transformer = pipe.transformer
    lists = [m for m in transformer.children() if type(m).__name__ == "ModuleList"]
    blocks = [b for m in lists for b in m if "Block" in type(b).__name__]
    made = Machine(len(blocks))
    hooks = [
        transformer.register_forward_hook(lambda *_: made.work(CALL)),
        *(b.register_forward_hook(lambda *_: made.work(BLOCK)) for b in blocks),
    ]
    generate = compare.generate

    def paced(pipe: Any, call: Any, config: Any = None, *rest: Any, **named: Any) -> Any:
        side = "plain" if config is None else "accelerated" if config.reflect else "alone"
        made.pace = made.of(side)
        try:
            return generate(pipe, call, config, *rest, **named)
        finally:
            made.pace = 1.0

    monkeypatch.setattr(compare, "generate", paced)
    for module in (clock, report):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: made.now))
    yield made
    for hook in hooks:
        hook.remove()
