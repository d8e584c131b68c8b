"""What happens when somebody asks for a comparison: check, run, write the files."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from ..measure import files
from ..measure.generation import Comparison, Generation
from ..measure.summary import with_flops
from ..models import loading
from ..models.request import APP, Request
from . import device, engine, pace, plain_runs
from .errors import told
from .plain_runs import Store
from .sharing import shared, turn
from .visitors import admitted

FOLDER_VARIABLE, STORE_BYTES = "ZCACHE_STORE", 2_000_000_000
KEPT_RUNS = 16  # Gradio copies what it serves; these are only the originals


@dataclass(frozen=True)
class Outcome:
    """One stage of a run: first only the accelerated side, then everything.

    `paths` has "accelerated", and when `done` also "baseline", "side_by_side", "difference" and
    "report".
    """

    paths: dict[str, str]
    report: dict[str, Any] = field(default_factory=dict)
    done: bool = False


def outcomes(kind: str, run: str = "", visitor: str = "", **raw: Any) -> Iterator[Outcome]:
    """Yield the stages of one comparison of a kind of model.

    Every input in `raw` is checked before anything runs; `run` is the name to stop it by, `visitor`
    who asks. Two equal requests at once are run once.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            host = engine.of(kind)
            request = loading.asked(host.model, APP, **raw)
            pace.check(host.model, [request], loading.default_device().type)
            with admitted(visitor):
                yield from of_request(host, request, run)
    finally:
        device.forget(run)


def of_request(host: engine.Engine, request: Request, run: str) -> Iterator[Outcome]:
    """Yield the stages of one checked request, which an equal one in progress may be making."""
    yield from shared(
        (host.model.name, request),
        lambda: _stages(host, request, run),
        lambda: device.check(run),
    )


def _stages(host: engine.Engine, request: Request, run: str) -> Iterator[Outcome]:
    """Run one checked request when the device is free, and write what it makes."""
    if not host.ready:
        gr.Progress()(0.0, desc="loading the model")
    pipe = host.pipeline()  # here, because a worker process would wait for a thread it has not
    fps = loading.fps(host.model, request)
    call = loading.call_arguments(host.model, request)
    key = plain_runs.key(host.model, pipe, call, request.seed)
    with turn(engine.in_use, lambda: device.check(run)):
        folder = _new_folder()  # here, where one run at a time is: it drops old ones
        baseline = store().get(key)
        alone = device.shows_base_alone(request)
        for stage in device.run_on_device(request, device.flag(run), baseline, alone, bool(run)):
            if isinstance(stage, Comparison):
                if not stage.baseline.stored:
                    store().put(key, stage.baseline)
                pace.learn(host.model, request, stage.report)
                stage = replace(stage, report=with_flops(stage.report, host.model, request))
            yield _written(stage, folder, fps)


def last(kind: str, run: str = "", visitor: str = "", **raw: Any) -> Outcome:
    """Return the last stage of `outcomes`: both sides and the report."""
    *_, outcome = outcomes(kind, run, visitor, **raw)
    return outcome


@lru_cache(maxsize=1)
def store() -> Store:
    """Return the store of plain runs: in ZCACHE_STORE, by default in the user's cache folder."""
    folder = os.environ.get(FOLDER_VARIABLE) or "~/.cache/zcache/baselines"
    return Store(Path(folder).expanduser(), STORE_BYTES)


def _written(stage: Generation | Comparison, folder: Path, fps: int | None) -> Outcome:
    if isinstance(stage, Comparison):
        heat, brightest = files.heat_map(stage.baseline.frames, stage.accelerated.frames)
        stage = replace(stage, report=stage.report | {"largest_difference": brightest})
        written = files.write_comparison(stage, folder, fps)
        written["difference"] = files.write(heat, folder / "difference.png")
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
