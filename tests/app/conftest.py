"""Engines on tiny models, for the tests of the app."""

import pytest

from zcache.app import engine, runs
from zcache.app.plain_runs import Store


@pytest.fixture
def engines(tinies, tmp_path, monkeypatch):
    """Engines on the tiny models with an empty store, and afterwards those in use before."""
    before = dict(engine._hosts)
    monkeypatch.setattr(runs, "store", lambda: Store(tmp_path / "store", 10**8))
    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}
    engine.use(hosts)
    yield hosts
    engine.use(before)
