"""The one function that runs on the GPU (on ZeroGPU: in a worker), with progress and Stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import gradio as gr
import spaces

from .. import compare, models
from ..request import Request
from ..schedule import Kind
from . import engine
from .errors import StoppedError, told

GPU_SECONDS = {"image": 120, "video": 300, "class": 60}  # asked of ZeroGPU
UPDATE_SECONDS = 0.1
SIDE_NAMES = {"accelerated": "Z-Cache", "baseline": "plain pipeline"}

_stops: dict[str, threading.Event] = {}


def announce(run: str) -> None:
    """Note that a run of this name will come, so that it can be stopped while it waits."""
    _stops[run] = threading.Event()


def stop(run: str) -> None:
    """End the run of this name at its next pass; without one nothing happens."""
    if run in _stops:
        _stops[run].set()


def forget(run: str) -> None:
    """Note that the run of this name is over."""
    _stops.pop(run, None)


def seconds_of(request: Request, *_: object) -> int:
    """Return how many seconds of a shared GPU are asked for."""
    return GPU_SECONDS[request.kind]


@spaces.GPU(duration=seconds_of)
def run_on_device(request: Request, run: str) -> Iterator[compare.Generation | compare.Comparison]:
    """Yield the accelerated generation, then the comparison, of one request.

    Arguments and results are plain data, so that they can cross to a worker process and back.
    """
    with told():
        host = engine.of(request.kind)
        meter = Meter(request, _stops.setdefault(run, threading.Event()))
        call = models.call_arguments(host.model, request)
        yield from compare.stages(
            host.pipeline(), call, request.config(), request.seed, meter.on_pass
        )


class Meter:
    """Tells the page how far a run is; the bar grows with the passes that cost time."""

    def __init__(self, request: Request, stopped: threading.Event) -> None:
        plan = request.config().plan(request.steps)
        self._total = plan.count(Kind.FULL) + request.steps
        self._done = 0
        self._told = 0.0
        self._stopped = stopped
        self._progress = gr.Progress()

    def on_pass(self, side: str, step: int, kind: str, num_steps: int) -> None:
        """Note the beginning of a pass; raises StoppedError when the visitor asked for it."""
        if self._stopped.is_set():
            raise StoppedError("stopped")
        fraction = min(self._done / self._total, 1.0)
        self._done += kind in ("full", compare.PLAIN)
        if time.monotonic() - self._told >= UPDATE_SECONDS:
            what = "" if kind == compare.PLAIN else f", {kind}"
            self.say(fraction, f"{SIDE_NAMES[side]}: step {step + 1} of {num_steps}{what}")
            self._told = time.monotonic()

    def say(self, fraction: float, text: str) -> None:
        """Show `text` beside a bar filled to `fraction`."""
        self._progress(fraction, desc=text)
