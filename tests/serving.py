"""Fixtures of the tools and the app: a tiny model by name, the app on a port, a browser page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zcache import models

from .folders import as_model, write_flux

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random FLUX checkpoint; copy it before you damage it."""
    return write_flux(tmp_path_factory.mktemp("checkpoints") / "tiny-flux")


@pytest.fixture(scope="session")
def tiny(flux_folder: Path) -> Iterator[str]:
    """The name under which the tiny checkpoint is known for the length of the session."""
    models.KNOWN["tiny-flux"] = as_model(flux_folder)
    yield "tiny-flux"
    del models.KNOWN["tiny-flux"]


@pytest.fixture(scope="session")
def tiny_pipe(tiny: str) -> Any:
    pipe = models.load(tiny)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def tiny_call(tiny: str) -> dict[str, Any]:
    return {**models.KNOWN[tiny].call, "prompt": "a red circle", "num_inference_steps": 10}


@pytest.fixture(scope="session")
def served(tiny: str) -> Iterator[str]:
    """The address of the app, running on the tiny model."""
    from zcache.app import build_demo, launch_options
    from zcache.app.engine import Engine

    demo = build_demo(Engine(tiny))
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    demo.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "the browser tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()
