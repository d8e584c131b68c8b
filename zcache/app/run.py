"""What happens when somebody asks for a comparison: check, run, write the files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from .. import files, models
from ..compare import Comparison, Generation
from ..request import APP
from . import engine
from .device import forget, run_on_device
from .errors import told

KEPT_RUNS = 16  # Gradio copies what it serves; these are only the originals


@dataclass(frozen=True)
class Outcome:
    """One stage of a run: first only the accelerated side, then everything.

    `paths` has "accelerated", and when `done` also "baseline", "side_by_side" and "report".
    """

    paths: dict[str, str]
    report: dict[str, Any] = field(default_factory=dict)
    done: bool = False


def outcomes(kind: str, run: str = "", **raw: Any) -> Iterator[Outcome]:
    """Yield the stages of one comparison of a kind of model.

    Every input in `raw` is checked before anything runs; `run` is the name to stop it by.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            host = engine.of(kind)
            request = models.asked(host.model, APP, **raw)
            if not host.ready:
                gr.Progress()(0.0, desc="loading the model")
            host.pipeline()  # here, because a worker process would wait for a thread it has not
            folder, fps = _new_folder(), models.fps(host.model, request)
            with engine.in_use:
                for stage in run_on_device(request, run):
                    yield _written(stage, folder, fps)
    finally:
        forget(run)


def last(kind: str, run: str = "", **raw: Any) -> Outcome:
    """Return the last stage of `outcomes`: both sides and the report."""
    *_, outcome = outcomes(kind, run, **raw)
    return outcome


def _written(stage: Generation | Comparison, folder: Path, fps: int | None) -> Outcome:
    if isinstance(stage, Comparison):
        written = files.write_comparison(stage, folder, fps)
        paths = {name: str(path) for name, path in written.items()}
        return Outcome(paths, stage.report, done=True)
    path = files.write(stage.frames, folder / f"accelerated{files.suffix(fps)}", fps)
    return Outcome({"accelerated": str(path)})


def _new_folder() -> Path:
    """Return an empty folder of a random name, and drop the oldest ones."""
    old = sorted(_root().iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in old[: max(0, len(old) - KEPT_RUNS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=_root()))


_made: list[Path] = []


def _root() -> Path:
    if not _made or not _made[0].is_dir():
        root = Path(tempfile.mkdtemp(prefix="zcache-app-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        _made[:] = [root]
    return _made[0]
