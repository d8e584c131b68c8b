"""One setting tried on the calls of a set: quality to the uncached output, FLOPs and seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...caching.enable import enabled
from ...caching.times import flow_times
from ...errors import ConfigError, UnsupportedPipelineError
from ...method.config import ZCacheConfig
from .. import metrics
from ..clock import LoopClock
from ..files import write_whole
from ..flop_meter import FlopMeter
from . import closed_loop, naming
from .calls import batches, draw
from .closed_loop import Fitted
from .gram import recording
from .sight import Sight, Told, look
from .uncached import Uncached


class Trials:
    """Calls with their uncached outputs. What was measured is kept in `folder`, where one is given.

    Args:
        name: of this set of calls, such as `calibration`.
        seed: of the first call; each later one has the next.
        batch: how many calls at most are drawn at once.
        metered: whether the FLOPs of the first call are counted. It is drawn alone, since that slows it down.
        projections: of every picture, by which fits see latents (see sight.py); 0 are latents as they are.
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
        batch: int = 1,
        metered: bool = True,
        projections: int = 0,
    ) -> None:
        self.name, self.calls, self.seed = name, list(calls), seed
        self._pipe, self._told, self._metered = pipe, told, metered
        self._batches = batches(self.calls, batch, first_alone=metered)
        self._folder = None if folder is None else folder / name
        self._plain: list[dict[str, Any]] = []
        self._uncached: list[Uncached] = []  # of each batch
        self._projections = projections
        self._sights: list[Sight] = []
        self._done = self._stored(header)
        fits = None if self._folder is None else self._folder / "fits.json"
        self._fits: dict[str, Any] = {} if fits is None else _read_json(fits, {})

    def reference(self, granularities: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Draw every call uncached; return the mean Gram matrix (T, T) of each granularity's feature.

        Raises:
            UnsupportedPipelineError: a run gave numbers that are not finite.
        """
        grams: dict[str, list[np.ndarray]] = {name: [] for name in granularities}
        for batch in self._batches:
            rows = [row for row in map(self._read, batch) if row is not None]
            if len(rows) < len(batch):
                self._told(f"{self.name}: uncached run {batch[-1] + 1} of {len(self.calls)}")
                with self._noted() if granularities else nullcontext():
                    rows = self._run(batch, None, granularities)
                self._check_finite(batch, rows)
                for index, row in zip(batch, rows, strict=True):
                    self._write(index, row)
            for row in rows:
                self._plain.append(row)
                for name in granularities:
                    grams[name].append(row[f"gram-{name}"])
        return {name: np.mean(each, axis=0) for name, each in grams.items()}

    def measure(self, config: ZCacheConfig, count: int | None = None) -> dict[str, Any]:
        """PSNR and SSIM per call, FLOPs speedup, speedup of the loop, of the first `count` calls (None: all).

        What runs, runs in the batches of the uncached runs, so that both round alike: whole ones, so there may
        be more calls than were asked for. Stored results are not run again.
        """
        count = len(self.calls) if count is None else count
        rows = self._done.setdefault(json.dumps(config.to_dict(), sort_keys=True), [])
        if len(rows) < count:
            for batch in self._batches:
                if len(rows) <= batch.start < count:
                    made = self._run(batch, config)
                    rows += map(_scored, self._plain[batch.start : batch.stop], made)
            if self._folder is not None:
                write_whole(self._folder / "trials.json", json.dumps(self._done).encode())
        return _summed(rows)

    @property
    def times(self) -> list[float]:
        """Flow times of the steps, as the last uncached run had them."""
        return list(self._plain[-1]["times"])

    def fit(self, full_steps: Sequence[int], near: Fitted | None = None) -> Fitted | None:
        """Forecasts fitted to these full steps (see closed_loop.py); None where that cannot be done.

        Takes the full computations of one accelerated run of every call, less those that it has in common with
        `near`, and, where the uncached runs are an earlier tuning's, theirs once more. What is stored takes none.
        """
        name = json.dumps(list(full_steps))
        if name not in self._fits:
            if len(self._uncached) < len(self._batches):
                self._uncached = []
                for batch in self._batches:
                    with self._noted():
                        self._draw(batch)
            draws = [partial(self._draw, batch) for batch in self._batches]
            if self._projections:
                self._sights = look(
                    self._pipe, draws, self._uncached, self._projections, self._told
                )
                self._projections = 0
            found = closed_loop.fit(
                self._pipe, draws, self._uncached, full_steps, near, self._sights
            )
            self._fits[name] = found and found.to_dict()
            if self._folder is not None:
                write_whole(self._folder / "fits.json", json.dumps(self._fits).encode())
            return found
        stored = self._fits[name]
        return stored and Fitted.from_dict(stored)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """While this lasts, one uncached run: what its scheduler is given at every step is kept."""
        uncached = Uncached()
        with uncached.watching(self._pipe.scheduler):
            yield
        self._uncached.append(uncached)

    def _draw(self, batch: range) -> list[np.ndarray]:
        return draw(self._pipe, self.calls[batch.start : batch.stop], self.seed + batch.start)

    def _run(
        self, batch: range, config: ZCacheConfig | None, granularities: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Draw some calls at once: of each its picture, its share of the seconds, the mean Gram matrices."""
        pipe = self._pipe
        metered = FlopMeter(pipe) if self._metered and 0 in batch else nullcontext()
        cache = enabled(pipe, config) if config else nullcontext()
        with ExitStack() as stack:
            handle = stack.enter_context(cache)
            rows = stack.enter_context(recording(pipe, *granularities)) if granularities else {}
            meter = stack.enter_context(metered)
            clock = stack.enter_context(LoopClock(pipe))
            pictures = self._draw(batch)
            grams = {f"gram-{name}": row.gram() for name, row in rows.items()}
            guidance = handle.report().guidance if handle else None
        shared = {
            "flops": meter.total if meter is not None else 0,
            "seconds": clock.denoising / len(batch),
            "times": flow_times(pipe.scheduler) or [],
            **grams,
            **({} if guidance is None else {"guidance": guidance}),
        }
        return [{"picture": picture, **shared} for picture in pictures]

    def _check_finite(self, batch: range, rows: Sequence[Mapping[str, Any]]) -> None:
        for index, row in zip(batch, rows, strict=True):
            wrong = [name for name, x in row.items() if not np.isfinite(x).all()]
            if wrong:
                raise UnsupportedPipelineError(
                    f"the {self.name} prompt {index + 1} gives NaN or infinity without a cache ({', '.join(wrong)}), "
                    "by which nothing can be judged; look at the weights and the precision (float16 may overflow "
                    "where bfloat16 does not), or leave the prompt out"
                )

    def _stored(self, header: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        if self._folder is None:
            return {}
        shown = _shown(self.calls, self._folder.parent)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"folder {self._folder.parent} cannot be made ({error.strerror}); give another"
            ) from error
        about = self._folder / "about.json"
        wanted = json.loads(json.dumps({**header, "seed": self.seed, "calls": shown}))
        if _read_json(about, wanted) != wanted:
            raise ConfigError(
                f"{self._folder} holds another tuning (other model or weights, steps, prompts or seed); give "
                "another folder, or empty this one"
            )
        write_whole(about, json.dumps(wanted, indent=1).encode())
        return dict(_read_json(self._folder / "trials.json", {}))

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


def _read_json(path: Path, absent: dict[str, Any]) -> dict[str, Any]:
    """What is written in a file; `absent` where there is none."""
    if not path.exists():
        return absent
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); remove it, or its folder") from error


def _scored(plain: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    psnr, ssim = likeness_of(plain["picture"], made["picture"])
    return {
        "psnr": psnr,
        "ssim": ssim,
        "flops_speedup": float(plain["flops"]) / float(made["flops"]) if made["flops"] else None,
        "speedup": float(plain["seconds"]) / float(made["seconds"]),
        "guidance": made.get("guidance"),
    }


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first row, whose FLOPs may be counted, is slower for it: it tells the speed only where it is alone."""
    return {
        "psnr": [row["psnr"] for row in rows],
        "ssim": [row["ssim"] for row in rows if row["ssim"] is not None],
        "flops_speedup": rows[0]["flops_speedup"],
        "guidance": rows[0].get("guidance"),
        "speedup": float(np.mean([row["speedup"] for row in rows[1:] or rows])),
    }


def likeness_of(plain: np.ndarray, other: np.ndarray) -> tuple[float, float | None]:
    """PSNR in dB, at most 100, and SSIM (None where there are no pictures of 11 pixels or more); 0 of both where the
    other has numbers that are not finite: it is no picture, and NaN is neither better nor worse than anything."""
    pictures = plain.shape[-1] == 3 and min(plain.shape[-3:-1]) >= metrics.WINDOW
    if not np.isfinite(other).all():
        return 0.0, 0.0 if pictures else None
    peak = 1.0 if pictures else float(np.ptp(plain)) or 1.0
    psnr = min(metrics.psnr(plain, other, peak=peak), metrics.MOST)
    return psnr, metrics.ssim(plain, other, peak=1.0) if pictures else None


def _shown(calls: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, str]]:
    """The calls as text, which tells every two of them apart.

    Raises:
        ConfigError: an argument that has no such text.
    """
    shown: list[dict[str, str]] = [{} for _ in calls]
    for call, row in zip(calls, shown, strict=True):
        for name, value in call.items():
            try:
                row[name] = naming.text(value)
            except TypeError as error:
                raise ConfigError(
                    f"{name} of a call is {value!r:.60}, a {error}, so runs kept in {folder} could be taken for "
                    "another call's; tune without folder, or give numbers, text, tensors, arrays, pictures or a "
                    "generator"
                ) from error
    return shown
