"""One setting tried on the calls of a set: quality to the uncached output, FLOPs and seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
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

    def reference(self, granularities: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Draw every call uncached; return the mean Gram matrix of each granularity's feature."""
        grams: dict[str, list[np.ndarray]] = {name: [] for name in granularities}
        for index, call in enumerate(self.calls):
            stored = self._read(index)
            if stored is None:
                self._told(f"{self.name}: uncached run {index + 1} of {len(self.calls)}")
                stored = self._run(call, index, None, granularities)
                self._write(index, stored)
            self._plain.append(stored)
            for name in granularities:
                grams[name].append(stored[f"gram-{name}"])
        return {name: np.mean(each, axis=0) for name, each in grams.items()}

    def measure(self, config: ZCacheConfig, count: int | None = None) -> dict[str, Any]:
        """PSNR and SSIM per call, FLOPs speedup, speedup of the loop, of the first `count` calls (None: all).

        Stored results are not run again.
        """
        count = len(self.calls) if count is None else count
        rows = self._done.setdefault(json.dumps(config.to_dict(), sort_keys=True), [])
        if len(rows) < count:
            for index in range(len(rows), count):
                made = self._run(self.calls[index], index, config)
                rows.append(_scored(self._plain[index], made))
            if self._folder is not None:
                (self._folder / "trials.json").write_text(json.dumps(self._done), "utf-8")
        return _summed(rows[:count])

    @property
    def times(self) -> list[float]:
        """Flow times of the steps, as the last uncached run had them."""
        return list(self._plain[-1]["times"])

    def _run(
        self,
        call: Mapping[str, Any],
        index: int,
        config: ZCacheConfig | None,
        granularities: Sequence[str] = (),
    ) -> dict[str, Any]:
        pipe = self._pipe
        metered = FlopMeter(pipe) if index == 0 else nullcontext()  # it slows the run down
        cache = enabled(pipe, config) if config else nullcontext()
        with ExitStack() as stack:
            stack.enter_context(cache)
            rows = stack.enter_context(recording(pipe, *granularities)) if granularities else {}
            meter = stack.enter_context(metered)
            clock = stack.enter_context(LoopClock(pipe))
            picture = draw(pipe, call, self.seed + index)
            grams = {f"gram-{name}": row.gram() for name, row in rows.items()}
        return {
            "picture": picture,
            "flops": meter.total if meter is not None else 0,
            "seconds": clock.denoising,
            "times": flow_times(pipe.scheduler) or [],
            **grams,
        }

    def _stored(self, header: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
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


def _scored(plain: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    psnr, ssim = likeness_of(plain["picture"], made["picture"])
    return {
        "psnr": psnr,
        "ssim": ssim,
        "flops_speedup": float(plain["flops"]) / float(made["flops"]) if made["flops"] else None,
        "speedup": float(plain["seconds"]) / float(made["seconds"]),
    }


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first row, whose FLOPs are counted, is slower for it: it tells the speed only where it is alone."""
    return {
        "psnr": [row["psnr"] for row in rows],
        "ssim": [row["ssim"] for row in rows if row["ssim"] is not None],
        "flops_speedup": rows[0]["flops_speedup"],
        "speedup": float(np.mean([row["speedup"] for row in rows[1:] or rows])),
    }


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
