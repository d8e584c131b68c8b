"""The one function that runs on the GPU (on ZeroGPU: in a worker), with progress and Stop."""

from __future__ import annotations

import io
import math
import secrets
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
import spaces
from PIL import Image

from ..measure import compare
from ..measure.files import write_whole
from ..method.schedule import Kind
from ..models import loading
from ..models.request import Request
from . import engine, leftovers, pace
from .errors import StoppedError, told

OVERHEAD_SECONDS = 15  # a cold worker fetches the weights from the disk
MARGIN = 1.4  # a run that exceeds what was asked for is aborted
SECONDS_ASKED = (20, 600)
ALONE_SECONDS = 120.0  # the longest run of the base alone that is made besides
LENT_SECONDS = 5.0  # the same where the visitor's quota pays for it
UPDATE_SECONDS = 0.1
ANNOUNCED = 256  # names of runs kept for Stop; the queue and the device hold far fewer
SIDE_NAMES = {
    "accelerated": "Z-Cache",
    "baseline": "plain pipeline",
    compare.AGAIN: "Z-Cache, timed once more",
    compare.ALONE: "base alone",
}
WORDS = {
    "full": "in full",
    "forecast": "predicted",
    "reflect": "redone",
}  # of the passes of a cached run

_stops: dict[str, Path] = {}  # by run: a file that is there once it is to stop, for a worker to see


def announce(run: str) -> None:
    """Note that a run of this name will come, so that it can be stopped while it waits."""
    forget(run)
    for old in list(_stops)[: len(_stops) - ANNOUNCED + 1]:
        forget(old)
    flag(run)


def flag(run: str) -> Path:
    """Return the file whose presence stops the run of this name, in whatever process it is."""
    place = leftovers.place("stops")
    return _stops.setdefault(run, place / secrets.token_hex(16))


def stop(run: str) -> None:
    """End the run of this name at its next pass; without one nothing happens."""
    if run in _stops:
        _stops[run].touch()


def stop_all(prefix: str) -> None:
    """End the runs whose names begin so."""
    for run in [name for name in _stops if name.startswith(prefix)]:
        stop(run)


def forget(run: str) -> None:
    """Note that the run of this name is over."""
    if run in _stops:
        flag = _stops.pop(run)
        for file in (flag, *(_view(flag, side) for side in SIDE_NAMES)):
            file.unlink(missing_ok=True)


def seen(run: str) -> dict[str, bytes]:
    """Return small pictures, as PNG, of the sides of a run in progress, by name, as far as there are."""
    views = {side: _view(_stops[run], side) for side in SIDE_NAMES} if run in _stops else {}
    return {side: view.read_bytes() for side, view in views.items() if view.exists()}


def _view(flag: Path, side: str) -> Path:
    return flag.with_name(f"{flag.name}-{side}.png")


def _show(flag: Path, side: str, picture: np.ndarray) -> None:
    """Put a small picture of a side where `seen` finds it, in whatever process."""
    if flag.exists():
        return
    coded = io.BytesIO()
    Image.fromarray(picture).save(coded, "PNG")
    write_whole(_view(flag, side), coded.getvalue())


def check(run: str) -> None:
    """Raise StoppedError if the run of this name was stopped."""
    if run in _stops and _stops[run].exists():
        raise StoppedError("stopped")


def seconds_of(
    request: Request, flag: Path, baseline: compare.Generation | None, alone: bool, *_: object
) -> int:
    """Return how many seconds of a shared GPU to ask for: what the run is expected to take."""
    model = engine.of(request.kind).model
    lent = pace.LENT if engine.on_zero_gpu() else "cuda"
    times = pace.seconds(model, request, pace.cost_of(model, request), lent)
    if times is None:
        return SECONDS_ASKED[1] // 2
    beside = compare.BESIDE / request.steps * times["plain"]
    needed = times["accelerated"] * (1 + alone) + beside
    if baseline is None:
        needed += times["plain"] + times["accelerated"]  # which may be timed again
    low, high = SECONDS_ASKED
    return min(max(low, math.ceil(OVERHEAD_SECONDS + MARGIN * needed)), high)


def shows_base_alone(request: Request) -> bool:
    """Whether the base without reflection is run too: unless that would take long."""
    model = engine.of(request.kind).model
    lent = engine.on_zero_gpu()
    where = pace.LENT if lent else loading.default_device().type
    times = pace.seconds(model, request, pace.cost_of(model, request), where)
    most = LENT_SECONDS if lent else ALONE_SECONDS
    return request.reflect and (times is None or times["accelerated"] <= most)


@spaces.GPU(duration=seconds_of)
def run_on_device(
    request: Request,
    flag: Path,
    baseline: compare.Generation | None = None,
    alone: bool = False,
    watched: bool = False,
) -> Iterator[compare.Generation | compare.Comparison]:
    """Yield the accelerated generation, then the comparison, of one request, until `flag` is there.

    A run that is `watched` leaves small pictures of itself beside the flag, for `seen`.
    Arguments and results are plain data, so that they can cross to a worker process and back.
    """
    with told():
        host = engine.of(request.kind)
        meter = Meter(request, flag, baseline is None, alone)
        call = loading.call_arguments(host.model, request)
        yield from compare.stages(
            host.pipeline(),
            call,
            request.config(),
            request.seed,
            meter.on_pass,
            baseline,
            alone,
            partial(_show, flag) if watched else None,
        )


class Meter:
    """Tells the page how far a run is; the bar grows with the passes that cost time."""

    def __init__(
        self, request: Request, flag: Path, plain: bool = True, alone: bool = False
    ) -> None:
        full = request.plan().count(Kind.FULL)
        self._total = full * (1 + alone) + request.steps * plain
        self._done = 0
        self._told = 0.0
        self._flag = flag
        self._progress = gr.Progress()

    def on_pass(self, side: str, step: int, kind: str, num_steps: int) -> None:
        """Note the beginning of a pass; raises StoppedError when the visitor asked for it."""
        if self._flag.exists():
            raise StoppedError("stopped")
        fraction = min(self._done / self._total, 1.0)
        self._done += kind in ("full", compare.PLAIN)
        if time.monotonic() - self._told >= UPDATE_SECONDS:
            what = f", {WORDS[kind]}" if kind in WORDS else ""
            self.say(fraction, f"{SIDE_NAMES[side]}: step {step + 1} of {num_steps}{what}")
            self._told = time.monotonic()

    def say(self, fraction: float, text: str) -> None:
        """Show `text` beside a bar filled to `fraction`."""
        self._progress(fraction, desc=text)
