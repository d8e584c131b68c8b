"""Which model a tab runs, and why."""

import threading

import gradio as gr
import pytest
import torch

from zcache import CheckpointError
from zcache.app import build_demo, engine, launch_options, runs, views
from zcache.app.errors import StoppedError, told
from zcache.models import loading

from ..folders import as_model
from .asking import KINDS, asked
from .visiting import PATIENCE, seen


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


def test_a_load_that_failed_is_tried_again_after_a_while(monkeypatch, tiny):
    tries, load = [], loading.load

    def once_unavailable(model):
        tries.append(model)
        if len(tries) == 1:
            raise CheckpointError("the Hub answered HTTP 503: try again later")
        return load(model)

    monkeypatch.setattr(loading, "load", once_unavailable)
    host = engine.Engine(tiny)
    for _ in range(2):  # at once it is not tried again
        with pytest.raises(CheckpointError, match="503"):
            host.pipeline()
    assert len(tries) == 1 and host.status()["state"] == "not loaded"

    monkeypatch.setattr(engine, "RETRY_SECONDS", 0.0)
    assert host.pipeline() is host.pipeline()
    assert len(tries) == 2 and host.status()["state"] == "ready"


def test_who_waits_for_a_model_can_be_stopped_and_the_model_loads_on(monkeypatch, tiny):
    go_on, load = threading.Event(), loading.load

    def slow(model):
        go_on.wait()
        return load(model)

    monkeypatch.setattr(loading, "load", slow)
    host, checks = engine.Engine(tiny), []

    def stopped():
        checks.append(1)
        if len(checks) > 1:
            raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        host.pipeline(stopped)
    assert host.loading
    go_on.set()
    assert host.pipeline() is not None


def test_a_request_is_checked_against_the_model_that_is_loaded_in_the_end(
    monkeypatch, flux_folder, engines
):
    """What another model may be asked, a number of its tuned full steps, is not what this one may be asked."""
    monkeypatch.setattr(engine, "why_not_large", lambda: "")
    monkeypatch.setattr("zcache.models.hub.check_access", lambda repo: None)
    monkeypatch.setitem(loading.KNOWN, engine.LARGE, as_model(flux_folder, "FLUX"))
    engine.use({**engines, "image": engine.Engine("auto")})

    with pytest.raises(gr.Error, match="this model has no profile"):
        runs.last("image", prompt="a cat on a blue background", steps=50, tuned=10)


@pytest.mark.browser
def test_the_classes_of_a_model_that_comes_late_fill_the_lists_that_were_empty(
    monkeypatch, tmp_path, tinies, browser
):
    """As `ZCACHE_MODELS=dit-xl-2` where the Hub cannot be reached at the start."""
    come, labels = threading.Event(), loading.labels

    def late(model):
        if model.kind == "class" and not come.is_set():
            raise CheckpointError("facebook/late is not on this machine")
        return labels(model)

    monkeypatch.setattr(loading, "labels", late)
    monkeypatch.setattr(engine, "RETRY_SECONDS", 0.0)
    before, load = dict(engine._hosts), loading.load

    def once_there(model):
        if not come.is_set():
            raise CheckpointError("facebook/late is not on this machine")
        return load(model)

    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}
    demo = build_demo(hosts)
    monkeypatch.setattr(loading, "load", once_there)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("tab", name="Class", exact=True).click()
    seen(page, "facebook/late is not on this machine.")
    come.set()
    page.get_by_role("tab", name="Image", exact=True).click()
    page.get_by_role("tab", name="Class", exact=True).click()
    filled = "() => [...document.querySelectorAll('input')].some((e) => e.value === 'red circle')"
    page.wait_for_function(filled, timeout=PATIENCE)
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_label("Class", exact=True).last.check()
    chosen = page.get_by_label("Class to compare", exact=True)
    chosen.wait_for(timeout=PATIENCE)
    assert chosen.input_value() == "red circle"
    page.close()
    demo.close()
    engine.use(before)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("facebook/DiT-XL-2-256 is gone", "facebook/DiT-XL-2-256 is gone."),
        ("steps is 9; from 10/20", "Steps is 9; from 10/20."),
        ("the Hub answered", "The Hub answered."),
        ("", "."),
    ],
)
def test_a_sentence_begins_with_a_capital_and_a_repository_with_its_own_letters(said, shown):
    error = CheckpointError(said)

    assert engine.sentence(error) == shown
    with pytest.raises(gr.Error) as caught, told():
        raise error
    assert f"{caught.value.message}." == shown
