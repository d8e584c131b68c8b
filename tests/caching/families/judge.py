"""Every check of the battery on one family at one granularity, as figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import zcache
from zcache import Report, ZCacheConfig
from zcache.caching.bindings import bind

from .family import Family, denoisers
from .oracle import Recorder, play

INTERVAL = 3
LIMIT = 1e-5  # largest difference, relative to the largest value where that is above 1


@dataclass(frozen=True)
class Judgement:
    """What was seen.

    Attributes:
        identical: interval 1 is bit-identical to the plain pipeline.
        restored: so is the plain pipeline after disable.
        repeated: a second run equals the first.
        computed: how often the transformer was computed in full, counted by hooks.
        w0: reflection with weight 0 against no reflection, base `fora`.
        oracle: the run against the recorded oracle.
        moved: the run against the plain pipeline; 0 would say that nothing was cached.
        report: of the run.
    """

    identical: bool
    restored: bool
    repeated: bool
    computed: int
    w0: float
    oracle: float
    moved: float
    report: Report

    @property
    def unreflected(self) -> int:
        """Cached steps between two full ones that were left as forecast."""
        last = max(self.report.full_steps, default=0)
        return sum(kind == "forecast" for kind in self.report.kinds[:last])

    @property
    def is_first_order(self) -> bool:
        """Whether the report says that guidance was only followed to first order."""
        return any("first order" in reason for reason in self.report.fallbacks)

    @property
    def word(self) -> str:
        """`right`; `in part` (windows left as forecast); `in full`; `first order`; `wrong`."""
        if set(self.report.kinds) == {"full"}:
            return "in full"
        if not max(self.w0, self.oracle) <= LIMIT:
            return "first order" if self.is_first_order else "wrong"
        return "right" if not self.unreflected else "in part"


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0))


class Counter:
    """How often transformers are computed in full, seen from outside."""

    def __init__(self, pipe: Any, granularity: str) -> None:
        self.count = 0
        self._hooks = []
        for transformer in denoisers(pipe):
            skipped = bind(granularity, transformer).skipped()
            module: nn.Module = skipped[0] if skipped else transformer
            self._hooks.append(module.register_forward_hook(self._seen))

    def _seen(self, *_: object) -> None:
        self.count += 1

    def remove(self) -> int:
        for hook in self._hooks:
            hook.remove()
        return self.count


def judge(family: Family, pipe: Any, granularity: str) -> Judgement:
    config = ZCacheConfig.paper(INTERVAL, granularity=granularity, placement="even")
    plain = family.run(pipe)
    with zcache.enabled(pipe, config.replace(interval=1)):
        identical = torch.equal(plain, family.run(pipe))

    recorder = Recorder(pipe, granularity)
    with zcache.enabled(pipe, config) as handle:
        handle.on_pass = recorder.on_pass
        recorder.ordinal = lambda: len(handle._run.branches)
        with recorder.listening():
            first = family.run(pipe)
        report = handle.report()
        counter = Counter(pipe, granularity)
        second = family.run(pipe)
        computed = counter.remove()
    restored = torch.equal(plain, family.run(pipe))
    return Judgement(
        identical,
        restored,
        torch.equal(first, second),
        computed,
        weight_zero(family, pipe, config),
        apart(play(family, pipe, recorder, report.kinds), first),
        apart(first, plain),
        report,
    )


def weight_zero(family: Family, pipe: Any, config: ZCacheConfig) -> float:
    """With weight 0 and reuse, going back changes nothing."""
    ends = []
    for reflect in (True, False):
        changed = config.replace(base="fora", weight=lambda j, n: 0.0, reflect=reflect)
        with zcache.enabled(pipe, changed):
            ends.append(family.run(pipe))
    return apart(*ends)
