"""Fixtures of the tools and the app: tiny models by name, the app on a port, a browser page."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zcache.models import loading

from .folders import as_model, write_dit, write_flux, write_hunyuan
from .pipelines import quiet

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


os.environ["ZCACHE_STORE"] = tempfile.mkdtemp(prefix="zcache-test-store-")  # not the user's own
atexit.register(shutil.rmtree, os.environ["ZCACHE_STORE"], ignore_errors=True)

TINY = {
    "image": ("tiny-flux", write_flux, "FluxPipeline"),
    "video": ("tiny-hunyuan", write_hunyuan, "HunyuanVideoPipeline"),
    "class": ("tiny-dit", write_dit, "DiTPipeline"),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random checkpoint of each kind; copy one before you damage it."""
    place = tmp_path_factory.mktemp("checkpoints")
    return {kind: write(place / name) for kind, (name, write, _) in TINY.items()}


@pytest.fixture(scope="session")
def flux_folder(folders: dict[str, Path]) -> Path:
    return folders["image"]


@pytest.fixture(scope="session")
def tinies(folders: dict[str, Path]) -> Iterator[dict[str, str]]:
    """The names, by kind, under which the tiny checkpoints are known for the whole session."""
    for kind, (name, _, pipeline) in TINY.items():
        loading.KNOWN[name] = as_model(folders[kind], name, pipeline)
    yield {kind: name for kind, (name, _, _) in TINY.items()}
    for name, _, _ in TINY.values():
        del loading.KNOWN[name]


@pytest.fixture(scope="session")
def tiny(tinies: dict[str, str]) -> str:
    """The name of the tiny model of images."""
    return tinies["image"]


@pytest.fixture(scope="session")
def tiny_pipe(tiny: str) -> Any:
    return quiet(loading.load(tiny))


@pytest.fixture(scope="session")
def tiny_pipes(tinies: dict[str, str], tiny_pipe: Any) -> dict[str, Any]:
    """The loaded tiny pipelines by kind."""
    others = {kind: quiet(loading.load(tinies[kind])) for kind in ("video", "class")}
    return {"image": tiny_pipe, **others}


@pytest.fixture
def tiny_calls(tinies: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What to call the tiny pipelines with, by kind."""
    subjects: dict[str, dict[str, Any]] = {
        "image": {"prompt": "a red circle"},
        "video": {"prompt": "a red circle moves left"},
        "class": {"class_labels": [1]},
    }
    return {
        kind: {**loading.KNOWN[name].call, **subjects[kind], "num_inference_steps": 10}
        for kind, name in tinies.items()
    }


@pytest.fixture
def tiny_call(tiny_calls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return tiny_calls["image"]


@pytest.fixture(scope="session")
def served(tinies: dict[str, str]) -> Iterator[str]:
    """The address of the app, running on the tiny models."""
    from zcache.app import build_demo, launch_options
    from zcache.app.engine import Engine

    demo = build_demo({kind: Engine(name) for kind, name in tinies.items()})
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
