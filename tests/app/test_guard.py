"""What strangers send over HTTP is refused, and the app goes on answering."""

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio_client import Client

from zcache.app import device, engine, forecast, guard, theme
from zcache.app.errors import told


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("SPACE_ID", guard.PROXY_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def asked(url, path, body=None, **headers):
    """The status and the text that a request is answered with; a body is sent as JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        url + path, data, {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def queued_handler(url):
    config = json.loads(asked(url, "config")[1])
    return next(d["id"] for d in config["dependencies"] if d["api_name"] == "compare_image")


@pytest.mark.parametrize("session", ["", " ", None, 5, [], "x" * 65])
def test_calls_of_no_session_are_refused_and_the_queue_lives(served, session):
    call = {"data": [], "fn_index": queued_handler(served), "session_hash": session}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: asked(served, "gradio_api/queue/join", call), range(2)))

    assert [status for status, _ in answers] == [400, 400]
    assert "session_hash must be text of 1 to 64 characters" in answers[0][1]
    *_, report = Client(served, verbose=False).predict(
        prompt="a red circle", steps=10, api_name="/compare_image"
    )
    assert report["num_steps"] == 10


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'"session_hash"'])
def test_a_body_that_is_no_call_has_no_session(body):
    assert not guard._has_session(body)


def test_a_message_to_a_session_that_is_gone_ends_its_event_only():
    with gr.Blocks() as demo:
        pass
    demo.queue()
    guard.keep_alive(demo)
    event = SimpleNamespace(alive=True, session_hash="gone", _id="1")

    demo._queue.send_message(event, SimpleNamespace())

    assert not event.alive


def test_nobody_passes_the_queue(served):
    status, _ = asked(served, "gradio_api/run/compare_image", {"data": ["a"], "session_hash": "a"})

    assert status == 404


@pytest.mark.parametrize(
    "path", ["gradio_api/upload", "gradio_api/upload/", "gradio_api/deep_link?session_hash=a"]
)
def test_nothing_is_uploaded_or_kept(served, path):
    assert asked(served, path, {} if "upload" in path else None)[0] == 404


def test_monitoring_is_off(served):
    assert "monitoring is not enabled" in asked(served, "monitoring/summary")[1].lower()


def test_a_forwarded_host_is_not_told_to_others(served):
    for path in ("gradio_api/info", "config", ""):
        assert "evil.example" not in asked(served, path, x_forwarded_host="evil.example")[1]
        assert "evil.example" not in asked(served, path)[1]


def test_gradio_keeps_the_state_of_few_sessions():
    assert theme.launch_options()["state_session_capacity"] == theme.SESSIONS <= 500


def test_a_body_too_large_is_refused(served):
    call = {"data": ["x" * guard.BODY_BYTES], "fn_index": 0, "session_hash": "a"}

    assert asked(served, "gradio_api/queue/join", call)[0] == 413


@pytest.mark.parametrize("name", ["steps", "interval"])
@pytest.mark.parametrize(
    "value",
    [10**400, -(10**5000), float("inf"), float("nan")],
    ids=["400 digits", "5000 digits", "inf", "nan"],
)
def test_a_number_beyond_all_limits_is_refused_with_the_limit(served, name, value):
    with pytest.raises(gr.Error, match="must be a whole number from"):
        forecast.plan("image", **{name: value})


@pytest.mark.parametrize(
    "error", [ValueError("zip() argument 2 is shorter"), TypeError("a private thing")]
)
def test_an_error_that_is_not_meant_for_users_is_not_shown(error):
    with pytest.raises(gr.Error, match="server's log") as caught, told():
        raise error

    assert str(error) not in caught.value.message


def test_a_folder_of_this_machine_is_told_by_its_last_part(folders):
    before = engine.all_hosts()
    engine.use({"image": engine.Engine(str(folders["image"]))})
    try:
        told_info = json.dumps([forecast.info(), forecast.plan("image", steps=10)], default=str)
    finally:
        engine.use(before)

    assert str(folders["image"].parent) not in told_info
    assert '"tiny-flux"' in told_info


def test_a_copy_of_a_flux_folder_can_be_planned(folders):
    before = engine.all_hosts()
    engine.use({"image": engine.Engine(str(folders["image"]))})
    try:
        assert forecast.plan("image", steps=10)["flops_speedup"] > 1
    finally:
        engine.use(before)


def test_names_of_runs_that_never_come_are_forgotten():
    runs = [f"{number}/image" for number in range(device.ANNOUNCED + 3)]
    for run in runs:
        device.announce(run)
        device.stop(run)
    flags = [device._stops.get(run) for run in runs]
    for run in runs:
        device.forget(run)

    assert flags[:3] == [None] * 3
    assert sum(flag is not None for flag in flags) <= device.ANNOUNCED
