"""What happens when somebody asks for a comparison: check, run, write the files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from ..measure import files, verdict
from ..measure.generation import Comparison, Generation
from ..measure.summary import with_flops
from ..models import loading
from ..models.catalogue import Model
from ..models.mini import world
from ..models.request import APP, Request
from . import device, engine, finished, leftovers, pace, plain_runs
from .errors import told
from .finished import Finished
from .outcome import Outcome
from .plain_runs import Store
from .sharing import shared, turn
from .visitors import admitted

FOLDER_VARIABLE, STORE_BYTES = "ZCACHE_STORE", 2_000_000_000
RESULT_BYTES = 200_000_000
KEPT_RUNS = 16  # Gradio copies what it serves; these are only the originals
RUNS, OPENED = "runs", "opened"  # folders of what is made here, and of what the store had


def outcomes(
    kind: str, run: str = "", visitor: str = "", watched: bool = False, **raw: Any
) -> Iterator[Outcome]:
    """Yield the stages of one comparison of a kind of model.

    Every input in `raw` is checked before anything runs; `run` is the name to stop it by, `visitor`
    who asks. A run that is `watched` leaves small pictures for `device.seen`. Two equal requests at once are
    run once.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            host = engine.of(kind)
            if host.undecided:  # which model it is decides what may be asked of it
                _pipeline(host, run)
            request = loading.asked(host.model, APP, **raw)
            pace.check(host.model, [request], loading.default_device().type)
            with admitted(visitor):
                yield from of_request(host, request, run, watched)
    finally:
        device.forget(run)


def of_request(
    host: engine.Engine, request: Request, run: str, watched: bool = False
) -> Iterator[Outcome]:
    """Yield the stages of one checked request, which an equal one in progress may be making."""
    yield from shared(
        (host.model.name, request),
        lambda: _stages(host, request, run, watched),
        lambda: device.check(run),
    )


def _stages(host: engine.Engine, request: Request, run: str, watched: bool) -> Iterator[Outcome]:
    """Run one checked request when the device is free, and write what it makes."""
    pipe = _pipeline(host, run)  # here, because a worker process would wait for a thread it has not
    fps = loading.fps(host.model, request)
    call = loading.call_arguments(host.model, request)
    key = plain_runs.key(host.model, pipe, call, request.seed)
    with turn(engine.in_use, lambda: device.check(run)):
        folder = _new_folder()  # here, where one run at a time is: it drops old ones
        baseline = store().get(key)
        alone = device.shows_base_alone(request)
        for stage in device.run_on_device(request, device.flag(run), baseline, alone, watched):
            if isinstance(stage, Comparison):
                if not stage.baseline.stored:
                    store().put(key, stage.baseline)
                pace.learn(host.model, request, stage.report)
                report = with_flops(stage.report, host.model, request)
                now = datetime.now(timezone.utc).isoformat(timespec="seconds")
                named = {
                    "subject": subject(host.model, request),
                    "finished": now,
                    "tuned": len(request.tuned.full_steps or ()) if request.tuned else 0,
                    "not_taught": world.outside(host.model.name, request.prompt),
                }
                stage = replace(stage, report=report | named)
            outcome = _written(stage, folder, fps)
            if outcome.done:
                results().put(_result_key(host.model, request), outcome)
            yield outcome


def _pipeline(host: engine.Engine, run: str) -> Any:
    if not host.ready:
        gr.Progress()(0.0, desc="loading the model")
    return host.pipeline(lambda: device.check(run))


def subject(model: Model, request: Request) -> str:
    """Return what a request draws, in words: its prompt, or the name of its class."""
    if request.kind != "class":
        return request.prompt
    names = [name for name, number in loading.labels(model).items() if number == request.label]
    return names[0] if names else str(request.label)


def last(kind: str, run: str = "", visitor: str = "", **raw: Any) -> Outcome:
    """Return the last stage of `outcomes`: both sides and the report."""
    *_, outcome = outcomes(kind, run, visitor, **raw)
    return outcome


def earlier(kind: str, **raw: Any) -> Outcome | None:
    """Return the last stage of an earlier run of these inputs, if the store has it; nothing is run."""
    host = engine.of(kind)
    request = loading.asked(host.model, APP, **raw)
    return results().get(_result_key(host.model, request), lambda: _new_folder(OPENED))


def _result_key(model: Model, request: Request) -> str:
    return finished.key(model, request, loading.default_device().type)


@lru_cache(maxsize=1)
def store() -> Store:
    """Return the store of plain runs: in ZCACHE_STORE, by default in the user's cache folder."""
    return Store(_store_folder(), STORE_BYTES)


@lru_cache(maxsize=1)
def results() -> Finished:
    """Return the store of finished comparisons, beside that of plain runs."""
    return Finished(_store_folder() / "finished", RESULT_BYTES)


def _store_folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or "~/.cache/zcache/baselines").expanduser()


def _written(stage: Generation | Comparison, folder: Path, fps: int | None) -> Outcome:
    if isinstance(stage, Comparison):
        heat, brightest = files.heat_map(stage.baseline.frames, stage.accelerated.frames)
        found = {"largest_difference": brightest, "verdict": verdict.of(stage.report)}
        stage = replace(stage, report=stage.report | found)
        written = files.write_comparison(stage, folder, fps)
        if stage.alone is not None:
            name = f"base_alone{files.suffix(fps)}"
            written["base_alone"] = files.write(stage.alone.frames, folder / name, fps)
        written["difference"] = files.write(heat, folder / "difference.png")
        paths = {name: str(path) for name, path in written.items()}
        return Outcome(paths, stage.report, done=True)
    path = files.write(stage.frames, folder / f"accelerated{files.suffix(fps)}", fps)
    return Outcome({"accelerated": str(path)}, {"accelerated_seconds": stage.denoise_seconds})


def _new_folder(place: str = RUNS) -> Path:
    """Return an empty folder of a random name, and drop the oldest ones of its place."""
    root = leftovers.place(place)
    old = []
    for folder in root.iterdir():
        with suppress(FileNotFoundError):  # another call dropped it
            old.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(old)[: max(0, len(old) - KEPT_RUNS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=root))
