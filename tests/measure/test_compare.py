import json
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch

from zcache import ConfigError, UnsupportedPipelineError, ZCacheConfig, enable, enabled
from zcache.measure import compare, metrics
from zcache.measure.clock import LoopClock
from zcache.models.request import RequestError

from .. import pipelines
from ..method.test_fitted_forecasts import taylor_rows
from ..planning import planned


def test_interval_one_is_the_plain_picture(tiny_pipe, tiny_call):
    comparison = compare.compare(tiny_pipe, tiny_call, ZCacheConfig(interval=1), seed=3)

    assert np.array_equal(comparison.baseline.frames, comparison.accelerated.frames)
    assert comparison.report["identical"] is True
    assert comparison.report["psnr"] is None
    assert comparison.report["full_steps"] == list(range(10))


def test_the_plain_side_is_the_users_own_call(tiny_pipe, tiny_call):
    direct = tiny_pipe(**tiny_call, generator=torch.Generator("cpu").manual_seed(5)).images[0]

    ours = compare.generate(tiny_pipe, tiny_call, seed=5)

    assert np.array_equal(np.asarray(direct), ours.frames[0])
    assert ours.report is None


@pytest.mark.parametrize("kind", ["video", "class"])
def test_every_kind_tells_its_plain_steps_and_is_its_own_call(tiny_pipes, tiny_calls, kind):
    told = []
    pipe, call = tiny_pipes[kind], tiny_calls[kind]
    output = pipe(**call, generator=torch.Generator("cpu").manual_seed(5))
    direct = output.frames[0] if kind == "video" else output.images

    ours = compare.generate(pipe, call, seed=5, on_pass=lambda *passed: told.append(passed))

    assert np.array_equal(np.stack([np.asarray(frame) for frame in direct]), ours.frames)
    assert told == [(step, "plain", 10) for step in range(10)]
    assert "step" not in vars(pipe.scheduler)


@pytest.mark.parametrize("kind", ["video", "class"])
def test_every_kind_is_identical_at_interval_one(tiny_pipes, tiny_calls, kind):
    config = ZCacheConfig(interval=1)

    report = compare.compare(tiny_pipes[kind], tiny_calls[kind], config, seed=1).report

    assert report["identical"] and report["psnr"] is None
    assert report.get("psnr_worst_frame") is None
    assert ("psnr_worst_frame" in report) == (kind == "video")


def test_the_likeness_of_a_clip_is_the_mean_over_its_frames_and_the_worst(tiny_pipes, tiny_calls):
    comparison = compare.compare(
        tiny_pipes["video"], tiny_calls["video"], ZCacheConfig(interval=4), seed=1
    )
    pairs = list(zip(comparison.baseline.frames, comparison.accelerated.frames, strict=True))

    values = [metrics.psnr(*pair) for pair in pairs]
    assert len(values) == 5 and len(set(values)) > 1
    assert comparison.report["psnr"] == pytest.approx(np.mean(values))
    assert comparison.report["psnr_worst_frame"] == min(values)
    assert comparison.report["ssim_worst_frame"] == min(metrics.ssim(*pair) for pair in pairs)


def test_the_report_is_json_and_adds_up(tiny_pipe, tiny_call):
    report = compare.compare(tiny_pipe, tiny_call, ZCacheConfig(interval=3), seed=1).report

    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["speedup"] == report["baseline_seconds"] / report["accelerated_seconds"]
    assert report["full_steps"] == list(planned(ZCacheConfig(interval=3), tiny_pipe, 10).full_steps)
    assert len(report["full_steps"]) == report["full_passes"]
    assert 0 < report["accelerated_seconds"] <= report["accelerated_seconds_end_to_end"]
    assert 0 < report["baseline_seconds"] <= report["baseline_seconds_end_to_end"]
    assert {
        "device",
        "dtype",
        "versions",
        "config",
        "walk",
        "cache_bytes",
        "fallbacks",
        "seed",
    } <= set(report)


def test_the_accelerated_side_comes_first_and_every_pass_is_told(tiny_pipe, tiny_call):
    told = []

    stages = compare.stages(
        tiny_pipe, tiny_call, ZCacheConfig(interval=9), 0, lambda *passed: told.append(passed)
    )
    first = next(stages)
    sides_at_first_yield = {side for side, *_ in told}
    last = next(stages)

    assert isinstance(first, compare.Generation) and isinstance(last, compare.Comparison)
    assert first.frames is last.accelerated.frames
    assert sides_at_first_yield == {"accelerated"}
    assert [kind for side, _, kind, _ in told if side == "accelerated"] == (
        ["full"] + ["forecast"] * 8 + ["full"] + ["reflect"] * 9
    )
    assert [step for side, step, _, _ in told if side == "baseline"] == list(range(10))


def test_a_batch_is_compared_picture_by_picture():
    pipe = pipelines.flux()
    call = {**pipelines.flux_arguments(6, batch=2), "output_type": "pil"}
    call.pop("generator", None)

    comparison = compare.compare(pipe, call, ZCacheConfig(interval=1))

    assert comparison.baseline.frames.shape[0] == 2


@pytest.mark.parametrize(
    ("change", "interval", "error"),
    [
        ({}, 11, ConfigError),
        ({"height": 130}, 3, RequestError),
        ({"width": 72}, 3, RequestError),
        ({"num_frames": 16}, 3, RequestError),
    ],
)
def test_the_impossible_is_refused_before_anything_runs(
    tiny_pipe, tiny_call, change, interval, error
):
    calls = []
    handle = tiny_pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        with pytest.raises(error):
            compare.compare(tiny_pipe, tiny_call | change, ZCacheConfig(interval=interval))
    finally:
        handle.remove()

    assert calls == []


def test_a_pipeline_without_a_denoiser_is_refused_before_anything_runs(tiny_call):
    class Nothing:
        scheduler = None

        def __call__(self, **_):
            raise AssertionError("it was run")

    with pytest.raises(UnsupportedPipelineError):
        compare.compare(Nothing(), tiny_call, ZCacheConfig())


def test_a_pipeline_with_a_cache_is_refused_and_keeps_it(tiny_pipe, tiny_call):
    handle = enable(tiny_pipe, ZCacheConfig(interval=2))
    try:
        with pytest.raises(RuntimeError, match="already"):
            compare.compare(tiny_pipe, tiny_call, ZCacheConfig())
    finally:
        handle.disable()


def test_a_run_after_a_stopped_one_is_clean(tiny_pipe, tiny_call):
    config = ZCacheConfig(interval=4)
    clean = compare.generate(tiny_pipe, tiny_call, config, seed=2)

    def stop(step: int, kind: str, num_steps: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    for settings in (config, None):
        with pytest.raises(KeyboardInterrupt):
            compare.generate(tiny_pipe, tiny_call, settings, seed=2, on_pass=stop)

    assert np.array_equal(
        clean.frames, compare.generate(tiny_pipe, tiny_call, config, seed=2).frames
    )


def test_the_warm_up_runs_every_kind_of_pass_once_a_shape(tiny_pipe, tiny_call, monkeypatch):
    reports = []

    @contextmanager
    def noted(pipe, config):
        with enabled(pipe, config) as handle:
            yield handle
            reports.append(handle.report())

    monkeypatch.setattr(compare, "_warm", WeakKeyDictionary())
    monkeypatch.setattr(compare, "enabled", noted)
    before = torch.get_rng_state()
    config = ZCacheConfig(interval=8, base="teacache", threshold=0.3)
    compare.warm_up(tiny_pipe, tiny_call, config)
    compare.warm_up(tiny_pipe, tiny_call, config)
    compare.warm_up(tiny_pipe, tiny_call | {"height": 128}, config)
    compare.warm_up(
        tiny_pipe, tiny_call | {"num_inference_steps": 2}, config.replace(granularity="output")
    )

    assert [report.walk for report in reports] == ["0F 1f 2f 3F 1r 2r 3r 4f"] * 2 + ["0F 1f"]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_the_clock_leaves_no_trace_and_stops_before_decoding(tiny_pipes, tiny_calls, kind):
    pipe = tiny_pipes[kind]
    before = (set(vars(pipe)), set(vars(pipe.vae)))
    decoding = []
    hook = pipe.vae.decoder.register_forward_pre_hook(lambda *_: decoding.append(clock.denoising))

    with LoopClock(pipe) as clock:
        pipe(**tiny_calls[kind])
    hook.remove()

    assert (set(vars(pipe)), set(vars(pipe.vae))) == before
    assert not pipe.transformer._forward_pre_hooks
    assert 0 < clock.denoising < clock.total
    assert decoding and set(decoding) == {clock.denoising}  # it stood still before the decoder ran


def test_the_clock_is_taken_off_after_an_exception(tiny_pipe):
    with pytest.raises(ZeroDivisionError), LoopClock(tiny_pipe):
        raise ZeroDivisionError

    assert "decode" not in vars(tiny_pipe.vae)
    assert not tiny_pipe.transformer._forward_pre_hooks


def test_fitted_forecasts_are_compared(tiny_pipe, tiny_call, monkeypatch):
    """Warmed up with other full steps, for which they were not fitted; then drawn as they are, and written down."""
    monkeypatch.setattr(compare, "_warm", WeakKeyDictionary())
    full = (0, 3, 9)
    config = ZCacheConfig(
        full_steps=full, base="fitted", forecasts=taylor_rows(full, 10), guidance=3.5, granularity="output",
        relax=None, times=[1 - k / 10 for k in range(10)],
    )  # fmt: skip
    compare.warm_up(tiny_pipe, tiny_call, config)
    config = config.replace(times=None, guidance=None)

    report = compare.compare(tiny_pipe, tiny_call, config, seed=3).report

    assert report["full_steps"] == list(full)
    assert report["fallbacks"] == []
    assert ZCacheConfig.from_dict(json.loads(json.dumps(report["config"]))) == config
