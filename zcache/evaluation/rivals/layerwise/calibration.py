"""SmoothCache's calibration: how far each kind of layer moves in one, two and three steps of uncached
runs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

from ....caching.bindings import inner
from ....caching.features import leaves
from ....caching.stand_ins import OutputsRecorder, swapped
from ..stepwise import Branch, Call, StepCache, described
from . import plans
from .layers import Kept, Layer, layers
from .on_pipeline import LayerCache, smoothcache
from .plans import FARTHEST, RUNS, Errors

Draw = Callable[..., Any]  # (pipe, index of the sample): an uncached run

HELD_OUT = 1_000_000  # index of the first sample to calibrate on


def relative_l1(earlier: Kept, later: Kept) -> float:
    """Return the sum of |later - earlier| over all entries, in shares of the sum of |later|."""
    pairs = list(zip(leaves(earlier), leaves(later), strict=True))
    moved = sum(float((b.float() - a.float()).abs().sum()) for a, b in pairs)
    size = sum(float(b.float().abs().sum()) for _, b in pairs)
    if size == 0:
        return float("inf") if moved else 0.0
    return moved / size


class Calibration(StepCache[None]):
    """Watches uncached runs and changes nothing. It keeps every layer's output of four steps."""

    title = "SmoothCache's calibration"

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self._layers: list[list[Layer]] = [
            layers(inner(denoiser), described(denoiser, "SmoothCache"))
            for denoiser in self.denoisers
        ]
        self._seen: dict[Branch, dict[int, list[Kept]]] = defaultdict(dict)
        self._found: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def plan(self, begin: int, num_steps: int) -> tuple[None, ...]:
        return (None,) * num_steps

    def is_full(self, step: None) -> bool:
        return True

    def forget(self) -> None:
        self._seen.clear()

    def compute(self, branch: Branch, step: int, call: Call) -> Any:
        known = self._layers[branch[0]]
        recorders = [OutputsRecorder(layer.module) for layer in known]
        with swapped(
            (*layer.place, recorder) for layer, recorder in zip(known, recorders, strict=True)
        ):
            output = call()
        kept = [recorder.seen for recorder in recorders]
        seen = self._seen[branch]
        for earlier in range(max(0, step - FARTHEST), step):
            if earlier in seen:  # two transformers share the steps among them
                for layer, before, now in zip(known, seen[earlier], kept, strict=True):
                    self._found[layer.kind][earlier, step].append(relative_l1(before, now))
        seen.pop(step - FARTHEST, None)
        seen[step] = kept
        return output

    def errors(self) -> dict[str, Errors]:
        """Return the mean errors of every kind over its layers, the branches and the runs."""
        return {
            kind: {pair: statistics.fmean(values) for pair, values in found.items()}
            for kind, found in self._found.items()
        }


def calibrate(pipe: Any, draw: Draw, indices: Sequence[int] = range(RUNS)) -> dict[str, Errors]:
    """Return the errors of every kind of layer in uncached runs by `draw(pipe, index)`.

    Raises:
        UnsupportedPipelineError: the transformer is not described.
        AlreadyEnabledError: the pipeline has a cache already.
    """
    calibration = Calibration(pipe)
    with calibration.on():
        for index in indices:
            draw(pipe, HELD_OUT + index)
    return calibration.errors()


def calibrated(
    alpha: float, num_steps: int, draw: Draw
) -> Callable[[Any], AbstractContextManager[LayerCache]]:
    """Return SmoothCache for any pipeline, calibrated when it is first put on it.

    Raises:
        ConfigError: alpha is negative or no number.
    """
    plans.check(alpha)
    known: WeakKeyDictionary[Any, dict[str, Errors]] = WeakKeyDictionary()

    def apply(pipe: Any) -> AbstractContextManager[LayerCache]:
        if pipe not in known:
            known[pipe] = calibrate(pipe, draw)
        return smoothcache(pipe, alpha, known[pipe], num_steps)

    return apply
