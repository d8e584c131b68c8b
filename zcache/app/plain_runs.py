"""Plain runs on disk, so that none is made twice.

An entry is one file, named by the hash of everything that shapes a plain run: the model and its
weights, the call, the seed, precision, kind of device and versions; never how the run is cached.
Files appear whole or not at all, the oldest go when the folder is full, and a damaged one is
dropped when it is met. A disk that fails costs nothing but the entry.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..measure import environment
from ..measure.generation import Generation
from ..models import hub
from ..models.catalogue import Model

logger = logging.getLogger(__name__)

FORMAT = 2
KEPT = ("seconds", "denoise_seconds", "device", "taken", "passes")
SUFFIX, UNFINISHED = ".npz", ".tmp"
FUTURE = 60 * 10**9  # nanoseconds that the clocks of two machines may differ by
ABANDONED = 3600  # seconds after which an unfinished file is nobody's
DAMAGE = (
    ValueError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


class Store:
    """A folder of plain runs that never holds more than `limit` bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()

    def get(self, key: str) -> Generation | None:
        """Return the run of this key, or None; a file that is damaged or holds no plain run is
        removed, one that cannot be read just now is kept."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                found = _read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("a stored baseline cannot be read: %s", error)
            if error.errno == errno.EINVAL:  # its index points outside the file
                remove(path)
            return None
        except DAMAGE as error:
            logger.warning("a stored plain run is damaged (%s) and was dropped", error)
            remove(path)
            return None
        with suppress(OSError):  # of another user, or on a disk that is read-only
            os.utime(path)
        return replace(found, stored=True)

    def put(self, key: str, run: Generation) -> None:
        """Keep a traced run under this key; a full or broken disk is logged, nothing else."""
        if run.latents is None:
            return
        facts = {name: getattr(run, name) for name in KEPT}
        unfinished: Path | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self._folder, suffix=UNFINISHED, delete=False
            ) as file:
                unfinished = Path(file.name)
                np.savez_compressed(
                    file, frames=run.frames, latents=run.latents, facts=json.dumps(facts)
                )
            with self._lock:
                if unfinished.stat().st_size <= self._limit:
                    os.replace(unfinished, self._path(key))
                for stat, path in files_of(self._folder, UNFINISHED):
                    if time.time() - stat.st_mtime > ABANDONED:  # a dead process left it
                        remove(path)
                trim(self._folder, SUFFIX, self._limit)
        except OSError as error:
            logger.warning("a plain run could not be stored: %s", error)
        finally:
            if unfinished is not None:
                remove(unfinished)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"


def trim(folder: Path, ending: str, limit: int) -> None:
    """Drop the files of this ending that were used longest ago until the rest fit into `limit` bytes."""
    now = time.time_ns()
    entries = files_of(folder, ending)
    held = sum(stat.st_size for stat, _ in entries)
    for stat, path in sorted(entries, key=lambda entry: _age(entry[0], now)):
        if held <= limit:
            return
        remove(path)
        held -= stat.st_size


def files_of(folder: Path, ending: str) -> list[tuple[os.stat_result, Path]]:
    """Return the files of an ending; those that another process just took away are none."""
    found = []
    for path in folder.glob(f"*{ending}"):
        with suppress(FileNotFoundError):
            found.append((path.lstat(), path))
    return found


def _age(stat: os.stat_result, now: int) -> int:
    """Return when a file was used, to sort by; one dated in the future goes first."""
    return stat.st_mtime_ns if stat.st_mtime_ns <= now + FUTURE else 0


def _read(file: IO[bytes]) -> Generation:
    """Return the run in a file; raises ValueError unless it can be a plain run."""
    with np.load(file, allow_pickle=False) as entry:
        facts = json.loads(str(entry["facts"]))
        facts["passes"] = tuple((kind, seconds) for kind, seconds in facts["passes"])
        run = Generation(entry["frames"], latents=entry["latents"], **facts)
    frames, latents = run.frames, run.latents
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(f"frames of {frames.dtype} {frames.shape}")
    if latents is None or latents.dtype != np.float16 or latents.ndim < 2 or not latents.size:
        raise ValueError("no float16 latents of each step")
    if not np.isfinite(latents).all():
        raise ValueError("latents that are not finite")
    times = {"seconds": run.seconds, "denoise_seconds": run.denoise_seconds}
    times |= {f"{kind} pass {number}": value for number, (kind, value) in enumerate(run.passes)}
    for name, value in times.items():
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise ValueError(f"{name:.40} {value!r:.40}")
    if [kind for kind, _ in run.passes] != ["plain"] * len(latents):
        raise ValueError("the passes are not the steps of a plain run")
    if not isinstance(run.device, str) or run.report is not None:
        raise ValueError("the facts are not those of a plain run")
    datetime.fromisoformat(run.taken)
    return run


def key(model: Model, pipe: Any, call: Mapping[str, Any], seed: int) -> str:
    """Return the name of the plain run of a call: a hash of all that shapes it."""
    facts = {
        "format": FORMAT,
        "model": identity(model),
        "call": dict(call),
        "seed": seed,
        "dtype": str(pipe.dtype),
        "device": pipe._execution_device.type,
        "versions": environment.versions(),
    }
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def identity(model: Model) -> list[Any]:
    """Return where the weights of a model are from, and what changes when they do."""
    return [model.source, hub.commit(model.source, model.revision), weights(model)]


def weights(model: Model) -> list[Any]:
    """Return what changes when the files of a local model do."""
    if model.local is None:
        return []
    files = sorted(path for path in model.local.rglob("*") if path.is_file())
    stats = [(str(path.relative_to(model.local)), path.stat()) for path in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def remove(path: Path) -> None:
    """Remove a file; one that cannot be is logged, nothing else."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path.name, error)
