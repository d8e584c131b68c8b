"""Bytes as they are measured, against those that are reported and those that are estimated."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zcache import ZCacheConfig
from zcache.measure import flop_table, memory
from zcache.measure.flop_estimate import PassCost, price
from zcache.method.config import GRANULARITY_CHOICES
from zcache.models import loading

from ..embedded import ALL, Embedded

NUMBER = 4  # bytes of a float32
STEPS = 12
PLAIN: dict[Embedded, memory.Used] = {}  # of uncached runs, which are alike


def test_the_meter_counts_what_lives_and_the_most_that_lived() -> None:
    """1,000 numbers stay; at the second mark 500 more live, and 2,000 more came and went before it."""
    before = torch.zeros(123)
    with memory.MemoryMeter(torch.device("cpu")) as meter:
        kept = torch.zeros(1000)
        meter.mark()
        passing = torch.zeros(2000)
        del passing
        more = torch.zeros(500)
        meter.mark()
        del more
    assert before.numel() and kept.numel()
    first, second = meter.spans
    assert (first.live, first.peak) == (1000 * NUMBER, 3000 * NUMBER)
    assert (second.live, second.peak) == (1500 * NUMBER, 1500 * NUMBER)


def measured(embedded: Embedded, **settings: Any) -> tuple[memory.Used, int, int]:
    """Bytes of a run beyond the uncached one, those estimated, and those of one anchor."""
    model = loading.find(embedded.name)
    subject = {"prompt": embedded.subjects[0]}
    if model.kind == "class":
        subject = {"label": next(iter(loading.labels(model)))}
    request = loading.asked(model, steps=STEPS, interval=6, **subject, **settings)
    estimate = flop_table.of(model, request)
    assert estimate is not None
    cost = flop_table.passes(model, request, estimate.granularity)
    assert cost is not None
    pipe, call = embedded.pipe(), loading.call_arguments(model, request)
    if embedded not in PLAIN:
        PLAIN[embedded] = memory.measure(pipe, call)
    used = memory.measure(pipe, call, request.config()).beyond(PLAIN[embedded])
    return used, estimate.cache_bytes, cost.feature_bytes


@pytest.mark.parametrize("embedded", ALL, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITY_CHOICES)
def test_the_estimate_is_within_a_quarter_of_what_is_held(
    embedded: Embedded, granularity: str
) -> None:
    """What is in flight in a pass, at most two latents and outputs, is measured and not reported; the
    estimate allows for the longest window that a flow may have."""
    used, estimated, anchor = measured(embedded, granularity=granularity)
    assert 0.75 * used.held <= used.reported <= used.held
    assert 0.75 * used.held <= estimated <= 1.25 * used.held
    # Beyond the uncached run's own peak: what is held and, in cached passes of every layer, one blend.
    assert used.peak <= 1.25 * estimated + (anchor if granularity == "module" else 0)


def test_an_anchor_more_is_held_where_a_blend_looks_back() -> None:
    flux = ALL[0]
    looking, more, anchor = measured(
        flux, base="taylorseer", weight="logarithmic", granularity="module"
    )
    ahead, less, _ = measured(flux, base="taylorseer", weight="future", granularity="module")
    assert looking.held - ahead.held == pytest.approx(anchor, rel=0.05)
    assert more - less == anchor


def test_without_reflection_no_step_is_kept() -> None:
    used, estimated, anchor = measured(ALL[0], reflect=False)
    assert estimated == 2 * anchor == used.reported


@pytest.mark.parametrize(("interval", "steps"), [(1, 4), (2, 4)])
def test_an_estimate_counts_the_steps_of_a_window_and_one_in_flight(
    interval: int, steps: int
) -> None:
    cost = price("any", ZCacheConfig(interval=interval), steps, PassCost(1, 1, 0, 10))
    assert cost.cache_bytes == (0 if interval == 1 else 2 * 10)


@pytest.mark.parametrize("config", [ZCacheConfig(interval=1), ZCacheConfig(full_steps=range(4))])
def test_a_run_without_a_cached_step_holds_nothing(config: ZCacheConfig) -> None:
    assert price("any", config, 4, PassCost(1, 1, feature_bytes=7, step_bytes=10)).cache_bytes == 0
