"""Small pictures of a run in progress: they change nothing, cost no measured time, and go away."""

import io
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from zcache import ZCacheConfig
from zcache.app import device, engine, runs, views
from zcache.measure import clock, compare, preview

KINDS = ("image", "video", "class")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(preview, "SECONDS_APART", 0.0)


def both(pipe, call, on_look=None):
    *_, comparison = compare.stages(pipe, call, ZCacheConfig(interval=3), 7, on_look=on_look)
    return comparison


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_watched_is_bit_for_bit_the_same_and_leaves_nothing(
    tiny_pipes, tiny_calls, kind
):
    pipe, seen = tiny_pipes[kind], []
    call = tiny_calls[kind] | {"num_inference_steps": 10}

    watched = both(pipe, call, lambda side, picture: seen.append((side, picture)))
    assert "step" not in vars(pipe.scheduler)
    alone = both(pipe, call)

    for side in compare.SIDES:
        one, other = getattr(watched, side), getattr(alone, side)
        assert np.array_equal(one.latents, other.latents)
        assert np.array_equal(one.frames, other.frames)
    assert [side for side, _ in seen] == ["accelerated"] * 10 + ["baseline"] * 10
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for _, p in seen)


def test_a_look_that_fails_ends_the_run_and_the_pipeline_is_as_before(tiny_pipe, tiny_call):
    def broken(side, picture):
        raise OSError("the disk is full")

    before = dict(vars(tiny_pipe.scheduler))
    with pytest.raises(OSError, match="the disk is full"):
        both(tiny_pipe, tiny_call, broken)

    assert vars(tiny_pipe.scheduler).keys() == before.keys()
    assert both(tiny_pipe, tiny_call).report["full_passes"]


def test_the_clock_leaves_out_what_is_done_while_it_is_paused(tiny_pipe, monkeypatch):
    ticks = count()
    monkeypatch.setattr(clock.time, "perf_counter", lambda: float(next(ticks)))

    with clock.LoopClock(tiny_pipe) as watch:  # 0
        with watch.paused():  # 1
            for _ in range(10):  # 2 to 11
                next(ticks)
        # 12
        watch._on_denoiser()  # 13
        with watch.paused():  # 14
            for _ in range(5):  # 15 to 19
                next(ticks)
        # 20
        watch._on_end()  # 21
        with watch.paused():  # 22, 23
            pass
    # 24

    assert watch.total == 24 - 0 - (12 - 1) - (20 - 14) - (23 - 22)
    assert watch.denoising == 21 - 13 - (20 - 14)


def test_colours_that_are_linear_in_the_channels_are_found_again():
    matrix, channels = RNG.normal(size=(4, 3)) / 20, RNG.normal(size=(8, 8, 4))
    colours = ((channels @ matrix + 0.5) * 255).clip(0, 255)
    frame = colours.round().astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    learnt = preview.Colours()
    assert not learnt.known

    learnt.learn(channels, frame)

    assert np.abs(learnt.picture(channels) - colours).max() < 2


def test_a_flow_is_shown_as_the_clean_sample_it_expects():
    clean, noise = torch.full((1, 2), 3.0), torch.full((1, 2), -1.0)
    flow = type("FlowMatchAny", (), {"sigmas": torch.tensor([1.0, 0.4, 0.0])})()
    sample = 0.6 * clean + 0.4 * noise

    shown = preview._denoised(flow, 1, noise - clean, sample, (sample,))

    assert torch.allclose(shown, clean)
    told = SimpleNamespace(pred_original_sample=clean)
    assert preview._denoised(flow, 1, noise, sample, told) is clean
    other = SimpleNamespace(sigmas=None)
    assert preview._denoised(other, 1, noise, sample, (noise,)) is noise


def test_a_run_of_the_page_leaves_pictures_while_it_lasts(tinies, tmp_path, monkeypatch):
    monkeypatch.setenv(runs.FOLDER_VARIABLE, str(tmp_path))
    runs.store.cache_clear()
    engine.use({kind: engine.Engine(name) for kind, name in tinies.items()})
    seen = []

    def watch(flag, side, picture):
        show(flag, side, picture)
        seen.append(device.seen("mine"))

    show = device._show
    monkeypatch.setattr(device, "_show", watch)
    device.announce("mine")
    asked = {"prompt": "a red circle", "steps": 10, "interval": 3}
    *_, last = runs.outcomes("image", "mine", watched=True, **asked)
    runs.store.cache_clear()

    assert set(seen[-1]) == {"accelerated", "baseline", "alone"}
    assert Image.open(io.BytesIO(seen[-1]["baseline"])).size[0] >= 2
    assert device.seen("mine") == {}
    assert last.done
    assert views.preview({}) == ""
    assert views.preview(seen[0]).count("data:image/png;base64,") == 1
