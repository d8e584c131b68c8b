import ast
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import gradio as gr
import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from gradio_client import Client
from PIL import Image

from zcache import CheckpointError
from zcache.app import build_demo, device, engine, leftovers, runs, sharing, theme, views
from zcache.app.errors import told
from zcache.app.plain_runs import Store
from zcache.measure.generation import Generation
from zcache.models import loading
from zcache.models.request import APP, checked

from ..folders import as_model

ROOT = Path(__file__).parents[2]
REPORT_KEYS = {
    "speedup",
    "baseline_seconds",
    "accelerated_seconds",
    "full_steps",
    "psnr",
    "ssim",
}


KINDS = ("image", "video", "class")


@pytest.fixture
def engines(tinies, tmp_path, monkeypatch):
    """Engines on the tiny models with an empty store, and afterwards those in use before."""
    before = dict(engine._hosts)
    monkeypatch.setattr(runs, "store", lambda: Store(tmp_path / "store", 10**8))
    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}
    engine.use(hosts)
    yield hosts
    engine.use(before)


def asked(kind="image", **changes):
    subject = {"label": "red square"} if kind == "class" else {"prompt": "a red circle"}
    return subject | {"interval": 5, "steps": 10} | changes


def decoded(path):
    """The frames of a picture or a clip, (F, H, W, 3)."""
    if path.endswith(".png"):
        return np.asarray(Image.open(path))[None]
    with imageio.get_reader(path) as reader:
        return np.stack(list(reader.iter_data()))


# The handler, as a function.


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


# Which model, and why.


def test_without_cuda_the_small_model_runs_and_the_page_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "needs a CUDA GPU" in engine.why_not_large()


def test_without_a_token_the_small_model_runs_and_the_page_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("zcache.models.hub.token_present", lambda: False)

    assert "HF_TOKEN is not set" in engine.why_not_large()


def test_without_access_the_small_model_runs_and_the_page_says_why(monkeypatch, tiny):
    monkeypatch.setattr(engine, "why_not_large", lambda: "")
    monkeypatch.setitem(loading.KNOWN, engine.EMBEDDED["image"], loading.KNOWN[tiny])

    def refuse(repo):
        raise CheckpointError(f"{repo} is gated")

    monkeypatch.setattr("zcache.models.hub.check_access", refuse)
    host = engine.Engine("auto")
    host.pipeline()

    assert host.status()["title"] == tiny
    assert "black-forest-labs/FLUX.1-dev is gated" in host.status()["note"]


def test_with_cuda_token_and_access_the_large_model_is_loaded_by_the_same_code(
    monkeypatch, flux_folder
):
    monkeypatch.setattr(engine, "why_not_large", lambda: "")
    monkeypatch.setattr("zcache.models.hub.check_access", lambda repo: None)
    monkeypatch.setitem(loading.KNOWN, engine.LARGE, as_model(flux_folder, "FLUX"))
    host = engine.Engine("auto")
    host.pipeline()

    assert (host.status()["title"], host.status()["state"]) == ("FLUX", "ready")


def test_a_broken_checkpoint_is_told_on_the_page_and_to_the_caller(monkeypatch, tmp_path):
    monkeypatch.setitem(loading.KNOWN, "broken", as_model(tmp_path / "gone", "broken"))
    host = engine.Engine("broken")

    with pytest.raises(CheckpointError, match="is missing"):
        host.pipeline()
    assert "is missing" in views.chip(host.status())


def test_the_environment_names_models_and_embedded_ones_stand_in(monkeypatch, tinies):
    monkeypatch.setenv(engine.VARIABLE, f"{tinies['class']}, nope")

    hosts = engine.lineup()

    assert list(hosts) == list(KINDS)
    assert [host.model.name for host in hosts.values()] == ["mini-flux", "mini-hunyuan", "tiny-dit"]
    assert "Model 'nope' is neither known" in hosts["image"].status()["note"]


def test_by_default_every_model_is_embedded_or_chosen_by_the_machine(monkeypatch):
    monkeypatch.delenv(engine.VARIABLE, raising=False)

    assert {kind: host.model.name for kind, host in engine.lineup().items()} == engine.EMBEDDED


def test_an_absent_checkpoint_leaves_the_page_and_tells_its_callers(monkeypatch, tmp_path, tinies):
    gone = as_model(tmp_path / "gone", "gone", "DiTPipeline")
    monkeypatch.setitem(loading.KNOWN, "gone", gone)
    before = dict(engine._hosts)
    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}

    build_demo(hosts | {"class": engine.Engine("gone")})

    with pytest.raises(gr.Error, match=r"The checkpoint folder gone is missing: install"):
        runs.last("class", **asked("class"))
    assert runs.last("image", **asked()).done
    engine.use(before)


# What is drawn.


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


# The served app, as programs see it.


@pytest.fixture(scope="module")
def client(served):
    return Client(served, verbose=False)


def test_only_the_named_endpoints_are_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]

    compared = [f"/compare_{kind}" for kind in KINDS]
    assert list(endpoints) == [*compared, "/three_pictures", "/sweep", "/plan", "/info"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_endpoint_takes_the_documented_arguments(client, kind):
    endpoint = client.view_api(return_format="dict")["named_endpoints"][f"/compare_{kind}"]

    names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    subject = "label" if kind == "class" else "prompt"
    assert names[:7] == [subject, "interval", "base", "weight", "reflect", "steps", "seed"]
    assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])


@pytest.mark.parametrize("kind", ["image", "class"])
def test_an_endpoint_returns_pictures_that_open_and_a_report(client, kind):
    baseline, accelerated, report = client.predict(
        **asked(kind, interval=4, seed=7), api_name=f"/compare_{kind}"
    )

    assert Image.open(baseline).size == Image.open(accelerated).size == (64, 64)
    assert set(report) >= REPORT_KEYS
    assert report["seed"] == 7
    last = 8 if kind == "class" else 9  # half a window before, of a diffusion sampler
    assert len(report["full_steps"]) == 4 and report["full_steps"][::3] == [0, last]


@pytest.mark.parametrize("kind", KINDS)
def test_three_pictures_are_plain_base_alone_and_accelerated(client, engines, kind):
    subject = asked(kind).get("prompt") or "1"
    *files, report = client.predict(
        kind=kind, subject=subject, interval=4, steps=10, api_name="/three_pictures"
    )

    plain, alone, accelerated = map(decoded, files)
    assert plain.shape == alone.shape == accelerated.shape
    assert not np.array_equal(alone, accelerated)
    assert set(report["verdict"]) == {"level", "sentence"}
    assert report["base_alone"]["reflect_passes"] == 0 < report["reflect_passes"]


def test_without_reflection_there_is_no_base_alone_to_show(client):
    plain, alone, accelerated, report = client.predict(
        kind="image", subject="a circle", reflect=False, steps=10, api_name="/three_pictures"
    )

    assert alone is None and "base_alone" not in report
    assert decoded(plain).shape == decoded(accelerated).shape


def test_the_video_endpoint_returns_clips_that_play_and_a_report(client):
    *clips, report = client.predict(
        **asked("video", interval=4, seed=7, frames=9), api_name="/compare_video"
    )

    assert [decoded(clip).shape for clip in clips] == [(9, 64, width, 3) for width in (64, 64, 136)]
    assert set(report) >= REPORT_KEYS | {"psnr_worst_frame", "ssim_worst_frame"}
    assert report["seed"] == 7 and report["full_steps"][::3] == [0, 9]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("video", {"frames": 6}, r"Frames is 6; it must be 4k \+ 1, such as 17: choose 5 or 9"),
        ("video", {"fps": 0}, "Fps is 0; it must be a whole number from 1 to 60"),
        ("video", {"prompt": ""}, "Prompt is empty"),
        ("video", {"steps": 9}, "Steps is 9"),
        ("class", {"label": "dog"}, "Class is 'dog'; it must be one of red circle, red square"),
        ("class", {"label": "7"}, "Class is '7'"),
        ("class", {"interval": 26}, "Interval is 26"),
    ],
)
def test_callers_of_the_other_endpoints_are_told_too(client, kind, change, message):
    with pytest.raises(Exception, match=message) as caught:
        client.predict(**asked(kind, **change), api_name=f"/compare_{kind}")

    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0}, "Interval is 0; it must be a whole number from 1 to 10"),
        ({"interval": 2.5}, "Interval is 2.5"),
        ({"interval": "5"}, "Interval is '5'"),
        ({"interval": None}, "Interval is empty"),
        ({"steps": 1000}, "Steps is 1000; it must be a whole number from 10 to 50"),
        ({"base": "x"}, "Base is 'x'; it must be one of automatic, taylorseer"),
        ({"weight": "x"}, "Weight is 'x'"),
        ({"prompt": ""}, "Prompt is empty; it needs 1 to 500 characters"),
        ({"prompt": "x" * 501}, "Prompt has 501 characters"),
        ({"reflect": "yes"}, "Reflect is 'yes'"),
        ({"seed": -1}, "Seed is -1"),
        ({"seed": None}, "Seed is empty; it must be a whole number from 0 to 2147483647"),
        ({"seed": 99999999999}, "Seed is 99999999999"),
    ],
)
def test_an_api_caller_is_told_the_same_sentence(client, change, message):
    with pytest.raises(Exception, match=message) as caught:
        client.predict(**asked(**change), api_name="/compare_image")

    assert "Traceback" not in str(caught.value)


# The script.


def test_spaces_is_imported_first():
    body = ast.parse((ROOT / "app.py").read_text(encoding="utf-8")).body

    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Import) and first.names[0].name == "spaces"


def test_exactly_one_function_is_sent_to_the_gpu():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "zcache").rglob("*.py")]

    assert sum(source.count("@spaces.GPU") for source in sources) == 1


def test_the_script_can_be_imported_without_serving():
    command = [sys.executable, "-c", "import app; print(type(app.demo).__name__)"]

    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.strip().endswith("Blocks")


@pytest.mark.parametrize("installed", [True, False])
def test_the_endpoints_are_tools_for_agents_only_where_the_extra_is_installed(
    monkeypatch, installed
):
    monkeypatch.setattr(theme, "find_spec", lambda name: object() if installed else None)

    assert theme.launch_options()["mcp_server"] is installed
