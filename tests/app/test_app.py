"""The handler of a run, as a function."""

import json
import os
import pickle
import threading
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch

from zcache import CheckpointError
from zcache.app import device, engine, leftovers, runs, sharing, views
from zcache.app.errors import told
from zcache.app.plain_runs import Store
from zcache.measure.generation import Generation
from zcache.models import loading
from zcache.models.request import APP, checked

from .asking import KINDS, REPORT_KEYS, asked, decoded


@pytest.mark.parametrize("kind", KINDS)
def test_the_accelerated_side_comes_first_then_everything(engines, kind):
    first, last = runs.outcomes(kind, **asked(kind))

    assert (set(first.paths), first.done, last.done) == ({"accelerated"}, False, True)
    others = {"baseline", "base_alone", "side_by_side", "difference", "report"}
    assert set(last.paths) == {"accelerated", *others}
    assert set(last.report) >= REPORT_KEYS
    assert json.loads(Path(last.paths["report"]).read_text(encoding="utf-8")) == last.report
    frames = 5 if kind == "video" else 1
    for side, width in (
        ("accelerated", 64),
        ("baseline", 64),
        ("base_alone", 64),
        ("side_by_side", 136),
    ):
        assert decoded(last.paths[side]).shape == (frames, 64, width, 3)
    assert decoded(last.paths["difference"]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_gives_the_same_frames(engines, kind):
    one, two = (runs.last(kind, **asked(kind, seed=4)).paths for _ in range(2))

    assert one["baseline"] != two["baseline"]
    for side in ("baseline", "accelerated"):
        assert np.array_equal(decoded(one[side]), decoded(two[side]))


def test_old_runs_are_dropped():
    for _ in range(runs.KEPT_RUNS + 3):
        runs._new_folder()

    assert len(list(leftovers.place(runs.RUNS).iterdir())) == runs.KEPT_RUNS


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("image", {"interval": 2.5}, "Interval is 2.5; it must be a whole number from 1 to 10"),
        ("image", {"prompt": ""}, "Prompt is empty"),
        ("image", {"base": "<img src=x>"}, "&lt;img src=x&gt;"),
        ("video", {"frames": 69}, "Frames is 69; it must be a whole number from 5 to 65"),
        ("class", {"label": "<b>"}, "Class is '&lt;b&gt;'; it must be one of red circle"),
    ],
)
def test_a_refusal_is_an_escaped_sentence_before_anything_runs(engines, kind, change, message):
    with pytest.raises(gr.Error) as caught:
        runs.last(kind, **asked(kind, **change))

    assert message in caught.value.message
    assert not engines[kind].ready  # the model was not even asked for


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("/secret/path"), "server's log"),
        (torch.OutOfMemoryError("CUDA"), "The GPU ran out of memory"),
        (MemoryError(), "The server ran out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "The server ran out of memory",
        ),
        (OSError(28, "/secret/path"), "disk is full"),
        (CheckpointError("the folder /home/secret/mini-flux is missing"), "folder mini-flux is"),
        (CheckpointError("see https://huggingface.co/a/b now"), "https://huggingface.co/a/b now"),
    ],
)
def test_an_unexpected_failure_says_nothing_of_its_inside(error, shown):
    with pytest.raises(gr.Error) as caught, told():
        raise error

    assert shown in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_the_run_of_its_own_name_and_the_next_one_works(engines, kind):
    stages = runs.outcomes(kind, "mine", **asked(kind))
    next(stages)
    device.stop("someone else's")
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        next(stages)
    assert runs.last(kind, **asked(kind)).done


def test_a_run_can_be_stopped_while_it_waits(engines):
    device.announce("mine")
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        runs.last("image", "mine", **asked())
    assert runs.last("image", "mine", **asked()).done


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("/secret")])
def test_after_a_failure_in_the_middle_the_next_run_is_as_if_nothing_had_been(engines, error):
    clean = decoded(runs.last("image", **asked()).paths["accelerated"])
    transformer, calls = engines["image"].pipeline().transformer, []

    def fail(*_):
        calls.append(1)
        if len(calls) >= 2:  # the first call is repeated from its feature, as a check
            raise error

    hook = transformer.register_forward_pre_hook(fail)
    with pytest.raises(gr.Error, match=r"ran out of memory|inside the server"):
        runs.last("image", **asked())
    hook.remove()

    assert np.array_equal(decoded(runs.last("image", **asked()).paths["accelerated"]), clean)


def test_a_full_disk_is_told_and_the_next_run_works(engines, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr("zcache.measure.files.write", full)
        with pytest.raises(gr.Error, match="disk is full"):
            runs.last("image", **asked())

    assert runs.last("image", **asked()).done


def test_a_broken_store_costs_nothing_but_the_store(engines, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(runs, "store", lambda: Store(tmp_path / "file", 10**8))

    told = [runs.last("image", **asked()).report["baseline_from"] for _ in range(2)]
    assert told == ["this run", "this run"]


def test_equal_requests_at_once_are_run_once(engines, monkeypatch):
    engines["image"].pipeline()
    started, stages = [], device.run_on_device
    came, follow = threading.Semaphore(0), sharing.Flight.follow

    def counted(*given):
        started.append(1)
        assert all(came.acquire(timeout=60) for _ in range(3))
        yield from stages(*given)

    def following(flight, check):
        came.release()
        return (yield from follow(flight, check))

    monkeypatch.setattr(device, "run_on_device", counted)
    monkeypatch.setattr(sharing.Flight, "follow", following)
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(runs.last("image", **asked())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(started) == 1
    assert len({outcome.paths["baseline"] for outcome in outcomes}) == 1 and len(outcomes) == 4


def test_one_who_stops_a_shared_run_stops_nobody_else(engines, monkeypatch):
    begun, came, follow = threading.Event(), threading.Event(), sharing.Flight.follow
    got = {}

    def following(flight, check):
        came.set()
        return (yield from follow(flight, check))

    def first_pass(*_):
        begun.set()
        assert came.wait(timeout=60)
        device.stop("A/class")

    def draw(run):
        try:
            got[run] = runs.last("class", run, **asked("class")).done
        except gr.Error as error:
            got[run] = error.message

    monkeypatch.setattr(sharing.Flight, "follow", following)
    hook = engines["class"].pipeline().transformer.register_forward_pre_hook(first_pass)
    threads = [threading.Thread(target=draw, args=(run,)) for run in ("A/class", "B/class")]
    threads[0].start()
    assert begun.wait(timeout=60)
    threads[1].start()
    for thread in threads:
        thread.join(timeout=60)
    hook.remove()

    assert "stopped" in got["A/class"]
    assert got["B/class"] is True


def test_runs_at_once_do_not_mix(engines):
    wanted = [("image", 1), ("image", 2), ("video", 1), ("class", 1)]
    alone = {(kind, seed): runs.last(kind, **asked(kind, seed=seed)) for kind, seed in wanted}
    together = {}

    def draw(kind, seed):
        together[kind, seed] = runs.last(kind, **asked(kind, seed=seed))

    threads = [threading.Thread(target=draw, args=pair) for pair in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for pair in wanted:
        a, b = (decoded(outcome[pair].paths["accelerated"]) for outcome in (alone, together))
        assert np.array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_worker_process_can_load_what_its_parent_has_not(engines):
    with engine.in_use:
        engines["video"].start()  # it waits for the lock, here for ever in a copy of this process
        child = os.fork()
        if not child:
            free = engine.in_use.acquire(blocking=False)
            os._exit(0 if free and not engines["video"].loading else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert engines["video"].pipeline() is not None  # the parent goes on


def test_the_strip_shows_the_zig_zag():
    html = views.timeline("0F 1f 2f 3F 1r 2r 3r 4f")

    assert html.count("zc-step") == 5
    assert "step 1: predicted, then redone once the next F is known" in html
    assert "step 3: computed in full, then redone" in html
    assert 'aria-label="step 4: predicted"' in html


def test_everything_from_outside_is_escaped():
    status = dict.fromkeys(("title", "device", "state", "note", "knows", "terms"), "<b>&")

    assert "<b>&lt;b&gt;&amp;" in views.chip(status)
    assert "&lt;script&gt;" in views.note("<script>")


def test_progress_grows_with_the_passes_that_cost_time(monkeypatch, tmp_path):
    told_so_far = []
    monkeypatch.setattr(device, "UPDATE_SECONDS", 0)
    monkeypatch.setattr(device.Meter, "say", lambda self, *said: told_so_far.append(said))
    meter = device.Meter(checked(APP, **asked(interval=9)), tmp_path / "stop")

    for side, step, kind in [("accelerated", 0, "full"), ("accelerated", 1, "forecast")]:
        meter.on_pass(side, step, kind, 10)
    for step in range(10):
        meter.on_pass("baseline", step, "plain", 10)

    assert told_so_far[0] == (0.0, "Z-Cache: step 1 of 10, in full")
    assert told_so_far[1] == (1 / 12, "Z-Cache: step 2 of 10, predicted")
    assert told_so_far[-1] == (10 / 12, "plain pipeline: step 10 of 10")


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_plain_data_that_can_cross_to_a_worker(engines, kind, tmp_path):
    request = loading.asked(engines[kind].model, **asked(kind))
    first, last = device.run_on_device(*pickle.loads(pickle.dumps((request, tmp_path / "stop"))))

    assert isinstance(pickle.loads(pickle.dumps(first)), Generation)
    assert pickle.loads(pickle.dumps(last)).report == last.report
