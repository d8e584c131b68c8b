"""One setting tried on the calls of a set: quality to the uncached output, FLOPs and seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ...caching.enable import enabled
from ...caching.times import flow_times
from ...errors import ConfigError
from ...method.config import ZCacheConfig
from .. import metrics
from ..clock import LoopClock
from ..flop_meter import FlopMeter
from .calls import draw
from .gram import recording

Told = Callable[[str], None]


class Trials:
    """Calls with their uncached outputs. What was measured is kept in `folder`, where one is given.

    Args:
        name: of this set of calls, such as `calibration`.
        seed: of the first call; each later one has the next.
    """

    def __init__(
        self,
        pipe: Any,
        calls: Sequence[Mapping[str, Any]],
        name: str,
        seed: int,
        header: Mapping[str, Any],
        folder: Path | None,
        told: Told,
    ) -> None:
        self.name, self.calls, self.seed = name, list(calls), seed
        self._pipe, self._told = pipe, told
        self._folder = None if folder is None else folder / name
        self._plain: list[dict[str, Any]] = []
        self._done = self._stored(header)

    def reference(self, granularity: str | None = None) -> np.ndarray | None:
        """Draw every call uncached; with a granularity, return the mean Gram matrix of its feature."""
        grams = []
        for index, call in enumerate(self.calls):
            stored = self._read(index)
            if stored is None:
                self._told(f"{self.name}: uncached run {index + 1} of {len(self.calls)}")
                stored = self._run(call, index, None, granularity)
                self._write(index, stored)
            self._plain.append(stored)
            if granularity is not None:
                grams.append(stored["gram"])
        return np.mean(grams, axis=0) if grams else None

    def measure(self, config: ZCacheConfig) -> dict[str, Any]:
        """PSNR and SSIM per call, FLOPs speedup, speedup of the loop; stored results are not run again."""
        key = json.dumps(config.to_dict(), sort_keys=True)
        if key not in self._done:
            rows = [self._run(call, i, config) for i, call in enumerate(self.calls)]
            self._done[key] = self._scored(rows)
            if self._folder is not None:
                (self._folder / "trials.json").write_text(json.dumps(self._done), "utf-8")
        return self._done[key]

    @property
    def times(self) -> list[float]:
        """Flow times of the steps, as the last uncached run had them."""
        return list(self._plain[-1]["times"])

    def _run(
        self,
        call: Mapping[str, Any],
        index: int,
        config: ZCacheConfig | None,
        granularity: str | None = None,
    ) -> dict[str, Any]:
        pipe = self._pipe
        metered = FlopMeter(pipe) if index == 0 else nullcontext()  # it slows the run down
        watched = recording(pipe, granularity) if granularity else nullcontext()
        cache = enabled(pipe, config) if config else nullcontext()
        with cache, watched as rows, metered as meter, LoopClock(pipe) as clock:
            picture = draw(pipe, call, self.seed + index)
            gram = rows.gram() if rows is not None else np.zeros(0)
        return {
            "picture": picture,
            "flops": meter.total if meter is not None else 0,
            "seconds": clock.denoising,
            "gram": gram,
            "times": flow_times(pipe.scheduler) or [],
        }

    def _scored(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pairs = list(zip(self._plain, rows, strict=True))
        first, *others = pairs
        seconds = [float(a["seconds"]) / float(b["seconds"]) for a, b in others or pairs]
        likeness = [likeness_of(a["picture"], b["picture"]) for a, b in pairs]
        return {
            "psnr": [p for p, _ in likeness],
            "ssim": [s for _, s in likeness if s is not None],
            "flops_speedup": float(first[0]["flops"]) / float(first[1]["flops"]),
            "speedup": float(np.mean(seconds)),
        }

    def _stored(self, header: Mapping[str, Any]) -> dict[str, Any]:
        if self._folder is None:
            return {}
        self._folder.mkdir(parents=True, exist_ok=True)
        about = self._folder / "about.json"
        wanted = json.loads(json.dumps({**header, "seed": self.seed, "calls": _shown(self.calls)}))
        if about.exists() and json.loads(about.read_text("utf-8")) != wanted:
            raise ConfigError(
                f"{self._folder} holds another tuning (other model, steps, prompts or seed); give another "
                "folder, or empty this one"
            )
        about.write_text(json.dumps(wanted, indent=1), "utf-8")
        trials = self._folder / "trials.json"
        return json.loads(trials.read_text("utf-8")) if trials.exists() else {}

    def _read(self, index: int) -> dict[str, Any] | None:
        path = None if self._folder is None else self._folder / f"uncached-{index}.npz"
        if path is None or not path.exists():
            return None
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    def _write(self, index: int, row: Mapping[str, Any]) -> None:
        if self._folder is not None:
            path = self._folder / f"uncached-{index}.npz"
            partial = path.with_suffix(".part.npz")
            np.savez(partial, **row)
            partial.replace(path)


def likeness_of(plain: np.ndarray, other: np.ndarray) -> tuple[float, float | None]:
    """PSNR in dB, at most 100, and SSIM (None where there are no pictures of 11 pixels or more)."""
    pictures = plain.shape[-1] == 3 and min(plain.shape[-3:-1]) >= metrics.WINDOW
    peak = 1.0 if pictures else float(np.ptp(plain)) or 1.0
    psnr = min(metrics.psnr(plain, other, peak=peak), metrics.MOST)
    return psnr, metrics.ssim(plain, other, peak=1.0) if pictures else None


def _shown(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The calls as text; tensors by their shape and sum."""
    return [{name: _text(value) for name, value in call.items()} for call in calls]


def _text(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"{tuple(value.shape)} {float(value.float().sum()):.6g}"
    return (
        repr(value)
        if isinstance(value, str | int | float | bool | list | tuple)
        else type(value).__name__
    )
