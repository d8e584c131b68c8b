"""Engines on tiny models and a page in Chromium, for the tests of the app."""

import pytest

from zcache.app import engine, pace, runs
from zcache.app.plain_runs import Store

from .visiting import PATIENCE

WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture
def engines(tinies, tmp_path, monkeypatch):
    """Engines on the tiny models with an empty store, and afterwards those in use before."""
    before = dict(engine._hosts)
    monkeypatch.setattr(runs, "store", lambda: Store(tmp_path / "store", 10**8))
    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}
    engine.use(hosts)
    yield hosts
    engine.use(before)


@pytest.fixture(params=WIDTHS)
def page(request, browser, served):
    """A loaded page; afterwards it must have been silent and have asked no other host."""
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    complaints, strangers = [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((served, "data:", "blob:")) else strangers.append(r.url),
    )
    page.goto(served)
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    yield page
    page.close()
    assert complaints == []
    assert strangers == []


@pytest.fixture
def hosts(tinies, monkeypatch):
    """Engines on the tiny models, of which no run has been timed."""
    before = engine.all_hosts()
    engine.use({kind: engine.Engine(name) for kind, name in tinies.items()})
    monkeypatch.setattr(pace, "_measured", {})
    yield engine.all_hosts()
    engine.use(before)
