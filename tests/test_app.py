import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client
from PIL import Image

from zcache import CheckpointError, models
from zcache.app import device, engine, run, views
from zcache.app.errors import told
from zcache.compare import Generation

from .folders import as_model

ROOT = Path(__file__).parent.parent
REPORT_KEYS = {
    "speedup",
    "baseline_seconds",
    "accelerated_seconds",
    "full_steps",
    "psnr",
    "ssim",
}


@pytest.fixture
def engine_in_use(tiny):
    """An engine on the tiny model, and afterwards the one that was in use before."""
    before = engine._current
    engine.use(engine.Engine(tiny))
    yield engine.current()
    engine._current = before


def asked(**changes):
    return {"prompt": "a red circle", "interval": 5, "steps": 10} | changes


# The handler, as a function.


def test_the_accelerated_picture_comes_first_then_everything(engine_in_use):
    first, last = run.outcomes(**asked())

    assert (set(first.paths), first.done, first.accelerated_seconds > 0) == (
        {"accelerated"},
        False,
        True,
    )
    assert set(last.paths) == {"accelerated", "baseline", "side_by_side", "report"}
    assert last.done
    assert set(last.report) >= REPORT_KEYS
    assert json.loads(Path(last.paths["report"]).read_text(encoding="utf-8")) == last.report


def test_the_same_request_gives_the_same_pictures(engine_in_use):
    one, two = (run.compare_image(**asked(seed=4)).paths for _ in range(2))

    assert one["baseline"] != two["baseline"]
    for side in ("baseline", "accelerated"):
        assert np.array_equal(np.asarray(Image.open(one[side])), np.asarray(Image.open(two[side])))


def test_old_runs_are_dropped(engine_in_use):
    for _ in range(run.KEPT_RUNS + 3):
        run._new_folder()

    assert len(list(run._root().iterdir())) == run.KEPT_RUNS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 2.5}, "Interval is 2.5; it must be a whole number from 1 to 10"),
        ({"prompt": ""}, "Prompt is empty"),
        ({"base": "<img src=x>"}, "&lt;img src=x&gt;"),
    ],
)
def test_a_refusal_is_an_escaped_sentence_before_anything_runs(engine_in_use, change, message):
    with pytest.raises(gr.Error) as caught:
        run.compare_image(**asked(**change))

    assert message in caught.value.message
    assert not engine_in_use.ready  # the model was not even asked for


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("/secret/path"), "server's log"),
        (torch.OutOfMemoryError("CUDA"), "ran out of memory"),
        (MemoryError(), "ran out of memory"),
    ],
)
def test_an_unexpected_failure_says_nothing_of_its_inside(error, shown):
    with pytest.raises(gr.Error) as caught, told():
        raise error

    assert shown in caught.value.message
    assert "secret" not in caught.value.message


def test_stop_ends_the_run_of_its_own_session_and_the_next_one_works(engine_in_use):
    stages = run.outcomes("mine", **asked())
    next(stages)
    device.stop("someone else's")
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        next(stages)
    assert run.compare_image(**asked()).done


def test_a_run_can_be_stopped_while_it_waits(engine_in_use):
    device.announce("mine")
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        run.compare_image(session="mine", **asked())
    assert run.compare_image(session="mine", **asked()).done


def test_two_runs_at_once_do_not_mix(engine_in_use):
    alone = {seed: run.compare_image(**asked(seed=seed)) for seed in (1, 2)}
    together = {}
    threads = [
        threading.Thread(
            target=lambda s=s: together.update({s: run.compare_image(**asked(seed=s))})
        )
        for s in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed in (1, 2):
        a, b = (np.asarray(Image.open(o[seed].paths["accelerated"])) for o in (alone, together))
        assert np.array_equal(a, b)


# Which model, and why.


def test_without_cuda_the_small_model_runs_and_the_page_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "needs a CUDA GPU" in engine.why_not_large()


def test_without_a_token_the_small_model_runs_and_the_page_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("zcache.hub.token_present", lambda: False)

    assert "HF_TOKEN is not set" in engine.why_not_large()


def test_without_access_the_small_model_runs_and_the_page_says_why(monkeypatch, tiny):
    monkeypatch.setattr(engine, "why_not_large", lambda: "")
    monkeypatch.setitem(models.KNOWN, engine.SMALL, models.KNOWN[tiny])

    def refuse(repo):
        raise CheckpointError(f"{repo} is gated")

    monkeypatch.setattr("zcache.hub.check_access", refuse)
    host = engine.Engine("auto")
    host.pipeline()

    assert host.status()["title"] == tiny
    assert "black-forest-labs/FLUX.1-dev is gated" in host.status()["note"]


def test_with_cuda_token_and_access_the_large_model_is_loaded_by_the_same_code(
    monkeypatch, flux_folder
):
    monkeypatch.setattr(engine, "why_not_large", lambda: "")
    monkeypatch.setattr("zcache.hub.check_access", lambda repo: None)
    monkeypatch.setitem(models.KNOWN, engine.LARGE, as_model(flux_folder, "FLUX"))
    host = engine.Engine("auto")
    host.pipeline()

    assert (host.status()["title"], host.status()["state"]) == ("FLUX", "ready")


def test_a_broken_checkpoint_is_told_on_the_page_and_to_the_caller(monkeypatch, tmp_path):
    monkeypatch.setitem(models.KNOWN, "broken", as_model(tmp_path / "gone", "broken"))
    host = engine.Engine("broken")

    with pytest.raises(CheckpointError, match="is missing"):
        host.pipeline()
    assert "is missing" in views.chip(host.status())


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
    assert "&lt;script&gt;" in views.waiting("<script>")


def test_progress_grows_with_the_passes_that_cost_time(monkeypatch):
    told_so_far = []
    monkeypatch.setattr(device, "UPDATE_SECONDS", 0)
    monkeypatch.setattr(device.Meter, "say", lambda self, *said: told_so_far.append(said))
    meter = device.Meter(run.checked(run.APP, **asked(interval=9)), threading.Event())

    for side, step, kind in [("accelerated", 0, "full"), ("accelerated", 1, "forecast")]:
        meter.on_pass(side, step, kind, 10)
    for step in range(10):
        meter.on_pass("baseline", step, "plain", 10)

    assert told_so_far[0] == (0.0, "Z-Cache: step 1 of 10, full")
    assert told_so_far[1] == (1 / 12, "Z-Cache: step 2 of 10, forecast")
    assert told_so_far[-1] == (10 / 12, "plain pipeline: step 10 of 10")


def test_stages_are_plain_data_that_can_cross_to_a_worker(engine_in_use):
    import pickle

    first, last = device.run_on_device(run.checked(run.APP, **asked()), "s")

    assert isinstance(pickle.loads(pickle.dumps(first)), Generation)
    assert pickle.loads(pickle.dumps(last)).report == last.report


# The served app, as programs see it.


@pytest.fixture(scope="module")
def client(served):
    return Client(served, verbose=False)


def test_only_the_named_endpoint_is_public(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/compare_image"]


def test_the_endpoint_takes_the_documented_arguments(client):
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/compare_image"]

    names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    assert names[:7] == ["prompt", "interval", "base", "weight", "reflect", "steps", "seed"]
    assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])


def test_the_endpoint_returns_files_that_open_and_a_report(client):
    baseline, accelerated, report = client.predict(
        "a red circle", 4, "taylorseer", "logarithmic", True, 10, 7, api_name="/compare_image"
    )

    assert Image.open(baseline).size == Image.open(accelerated).size == (64, 64)
    assert set(report) >= REPORT_KEYS
    assert (report["seed"], report["full_steps"]) == (7, [0, 3, 6, 9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0}, "Interval is 0; it must be a whole number from 1 to 10"),
        ({"interval": 2.5}, "Interval is 2.5"),
        ({"interval": "5"}, "Interval is '5'"),
        ({"interval": None}, "Interval is None"),
        ({"steps": 1000}, "Steps is 1000; it must be a whole number from 10 to 50"),
        ({"base": "x"}, "Base is 'x'; it must be one of taylorseer"),
        ({"weight": "x"}, "Weight is 'x'"),
        ({"prompt": ""}, "Prompt is empty; it needs 1 to 500 characters"),
        ({"prompt": "x" * 501}, "Prompt has 501 characters"),
        ({"reflect": "yes"}, "Reflect is 'yes'"),
        ({"seed": -1}, "Seed is -1"),
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
