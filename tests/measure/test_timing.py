"""The speedup is that of two runs at one pace, or it is called an estimate."""

from dataclasses import replace

import numpy as np
import pytest

from zcache import ZCacheConfig
from zcache.measure import compare, summary, timing
from zcache.measure.generation import Generation

from ..fake_time import CALL, machine
from ..planning import planned

CHECKS = 0.01  # of the time: the self-check of the first full step
PACES = {"plain slow": {"plain": 10.0}, "accelerated slow": {"accelerated": 10.0}, "even": {}}


@pytest.fixture(params=["image", "video", "class"])
def world(request, tiny_pipes, tiny_calls, monkeypatch):
    pipe, call = tiny_pipes[request.param], tiny_calls[request.param]
    compare.warm_up(pipe, call, ZCacheConfig(granularity="stack"))
    with machine(pipe, monkeypatch) as made:
        yield made, pipe, call


def stages(world, config, stored=None, paces=(), **named):
    made, pipe, call = world
    made.of = lambda side: dict(paces).get(side, 1.0)
    *_, comparison = compare.stages(pipe, call, config, baseline=stored, **named)
    return comparison


@pytest.mark.parametrize("paces", PACES.values(), ids=PACES)
@pytest.mark.parametrize("interval", [1, 4])
def test_a_slow_side_leaves_the_speedup_what_it_is(world, paces, interval):
    config = ZCacheConfig(granularity="stack", interval=interval)
    truth = world[0].ratio(config, 10)

    report = stages(world, config, paces=paces, alone=True).report

    assert report["speedup"] == pytest.approx(truth, rel=CHECKS)
    assert report["speedup_is"] == ("estimated" if paces else "measured")
    assert report["speedup_end_to_end"] == pytest.approx(truth, rel=CHECKS)
    assert report["baseline_seconds"] / report["accelerated_seconds"] == report["speedup"]
    assert ("the plain run was timed" in report["speedup_how"]) == bool(paces)
    if interval > 1:
        bare = report["base_alone"]
        assert bare["speedup"] == pytest.approx(
            world[0].ratio(config.replace(reflect=False), 10), rel=CHECKS
        )


@pytest.mark.parametrize("pace", [0.1, 1.0, 10.0])
def test_a_stored_run_counts_at_the_pace_of_today(world, pace):
    config = ZCacheConfig(granularity="stack", interval=4)
    old = replace(stages(world, config, paces={"plain": pace}).baseline, stored=True)

    comparison = stages(world, config, stored=old)

    assert comparison.report["speedup"] == pytest.approx(world[0].ratio(config, 10), rel=CHECKS)
    assert comparison.report["speedup_is"] == ("measured" if pace == 1.0 else "estimated")
    plain = comparison.report["baseline_seconds"]
    assert plain == pytest.approx(10 * world[0].full, rel=CHECKS)
    assert comparison.report["timed"]["baseline_seconds"] == pytest.approx(plain * pace, rel=CHECKS)


def test_an_accelerated_run_at_another_pace_is_timed_again_among_plain_steps(world):
    config, sides = ZCacheConfig(granularity="stack", interval=3), []
    paces = iter([10.0, 1.0])  # a load that passes
    made, pipe, call = world
    made.of = lambda side: next(paces) if side == "accelerated" else 1.0

    *_, comparison = compare.stages(pipe, call, config, on_pass=lambda side, *_: sides.append(side))

    assert list(dict.fromkeys(sides)) == ["accelerated", "baseline", "again"]
    assert comparison.report["speedup_is"] == "measured"
    assert comparison.report["speedup"] == pytest.approx(made.ratio(config, 10), rel=CHECKS)
    beside = comparison.accelerated.beside
    assert beside == pytest.approx([made.full] * min(compare.BESIDE, 3), rel=1e-6)


def test_plain_steps_beside_change_neither_the_frames_nor_the_times(world):
    _, pipe, call = world
    config = ZCacheConfig(granularity="stack", interval=3)
    alone = compare.generate(pipe, call, config, trace=True)
    among = compare.generate(pipe, call, config, trace=True, beside=3)

    assert np.array_equal(alone.frames, among.frames)
    assert np.array_equal(alone.latents, among.latents)
    assert len(among.beside) == 3 and alone.beside == ()
    assert among.denoise_seconds == pytest.approx(alone.denoise_seconds)
    assert [kind for kind, _ in among.passes] == [kind for kind, _ in alone.passes]
    assert not pipe.transformer._forward_pre_hooks


def test_the_passes_of_a_run_are_its_loop(world):
    made, pipe, call = world
    config = ZCacheConfig(granularity="stack", interval=4)
    plain, ours = compare.generate(pipe, call), compare.generate(pipe, call, config)

    for run in (plain, ours):
        assert sum(seconds for _, seconds in run.passes) == pytest.approx(run.denoise_seconds)
    assert plain.passes == (("plain", pytest.approx(made.full)),) * 10
    walk = planned(config, pipe, 10).walk
    assert [kind for kind, _ in ours.passes] == [visit.kind.word for visit in walk]
    cheap = [seconds for kind, seconds in ours.passes if kind != "full"]
    assert max(cheap) < 3 * CALL + 1e-9


def run(full=1.0, cached=0.1, steps=10, **changes):
    """An accelerated run of 3 full and 12 cached passes."""
    passes = (("full", full),) * 3 + (("forecast", cached),) * 12
    took = sum(seconds for _, seconds in passes)
    made = Generation(
        np.zeros((1, 4, 4, 3), np.uint8), took + 1, took, {"num_steps": steps}, None, "a card", "",
        passes=passes,
    )  # fmt: skip
    return replace(made, **changes)


def plain(step=1.0, steps=10, **changes):
    passes = (("plain", step),) * steps
    made = Generation(
        np.zeros((1, 4, 4, 3), np.uint8), step * steps + 1, step * steps, device="a card",
        passes=passes,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("ours", "baseline", "speedup", "said", "how"),
    [
        ({}, {}, 10 / 4.2, "measured", ""),
        ({}, {"step": 1.05}, 10.5 / 4.2, "measured", ""),
        ({}, {"step": 1.5}, 10 / 4.2, "estimated", "1.5 s a step when the plain run"),
        ({}, {"step": 0.5}, 10 / 4.2, "estimated", "0.5 s a step"),
        ({}, {"device": "another"}, 10 / 4.2, "estimated", "the plain run was timed on another"),
        # A full step that truly costs more than a plain one, which the plain steps beside tell.
        ({"full": 1.25, "beside": (1.0, 1.0)}, {}, 10 / 4.95, "measured", ""),
        ({"full": 1.25, "beside": (1.0,) * 2}, {"step": 3}, 10 / 4.95, "estimated", "2 plain steps"),
        # Nothing makes a plain step dearer than a full one, or a full one three times as dear.
        ({"beside": (5.0, 5.0)}, {"step": 5}, 10 / 4.2, "estimated", "though a plain one beside it took 5"),
        ({"full": 3.0, "beside": (1.0,) * 2}, {}, 30 / 10.2, "estimated", "though a plain one"),
        ({"passes": ()}, {}, 10 / 4.2, "estimated", "the steps of the runs were not seen"),
    ],
)  # fmt: skip
def test_the_definition(ours, baseline, speedup, said, how):
    report = timing.timing(run(**ours), plain(**baseline))

    assert report["speedup"] == pytest.approx(speedup)
    assert report["speedup_is"] == said
    assert how in report["speedup_how"] and bool(how) == bool(report["speedup_how"])
    ends = report["baseline_seconds"] + 1, report["accelerated_seconds"] + 1
    assert report["speedup_end_to_end"] == pytest.approx(ends[0] / ends[1])


def test_an_interrupted_pass_counts_as_two_of_its_kind():
    passes = (("plain", 1.0),) * 39 + (("plain", 50.0),)
    report = timing.timing(run(), plain(passes=passes, denoise_seconds=89.0, seconds=90.0))

    assert report["baseline_seconds"] == pytest.approx(41.0)
    assert report["timed"]["baseline_seconds"] == 89.0


def test_the_spread_is_two_standard_errors_of_the_passes():
    """Plain steps 0.9 and 1.1 by turns: the error of their sum is sqrt(10) deviations."""
    passes = (("plain", 0.95), ("plain", 1.05)) * 5
    deviation = (10 * 0.05**2 / 9) ** 0.5
    report = timing.timing(run(), plain(passes=passes))

    relative = 10**0.5 * deviation / 10
    assert report["speedup_spread"] == pytest.approx(2 * report["speedup"] * relative)
    assert timing.timing(run(), plain())["speedup_spread"] == 0.0


@pytest.mark.parametrize(
    ("flops", "spread", "said"),
    [
        (None, 0.0, ""),
        (2.5, 0.0, ""),
        (2.3, 0.2, "above the 2.30 times fewer FLOPs by less than its spread"),
        (2.0, 0.1, "cached passes took a smaller share of the time than of the FLOPs"),
    ],
)
def test_nothing_is_above_the_flops_without_the_reason(flops, spread, said):
    figures = {"speedup": 2.4, "speedup_spread": spread}

    assert said in timing.above_flops(figures, flops)
    assert bool(said) == bool(timing.above_flops(figures, flops))


def test_where_the_plain_run_is_from():
    baseline = plain(stored=True, taken="2026-01-02T03:04:05+00:00")

    assert summary.origin(baseline) == {
        "baseline_from": "the store",
        "baseline_device": "a card",
        "baseline_taken": "2026-01-02T03:04:05+00:00",
    }


@pytest.mark.parametrize("beside", [(), (0.020, 0.009, 0.0091, 0.0089)])
def test_what_a_run_does_once_is_no_other_pace(beside):
    """Ten full steps, the first of which checks the cache: 0.5 and 0.2 of a step more, 7 % in the mean, beside 3 %
    for storing features; taken for a slower machine they would make the plain run 10 % longer than it was."""
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    full = (0.0139, 0.0111, *8 * [0.0093])
    cached = tuple(("forecast", 0.0003) for _ in range(40))
    accelerated = Generation(
        frames,
        0.13,
        sum(full) + 40 * 0.0003,
        report={"num_steps": 50},
        passes=(*(("full", seconds) for seconds in full), *cached),
        beside=beside,
    )
    plain = Generation(frames, 0.5, 0.45, passes=50 * (("plain", 0.009),))

    found = timing.timing(accelerated, plain)

    assert found["speedup_is"] == "measured"
    assert found["speedup"] == pytest.approx(0.45 / (sum(full) + 40 * 0.0003))
