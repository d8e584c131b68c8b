"""Finished comparisons on disk, so that a shared link opens with its result.

An entry is one file, named by the hash of the model, its weights, the whole request and the versions.
Files appear whole or not at all, the oldest go when the folder is full, and a damaged one is dropped
when it is met.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from ..measure import environment
from ..measure.files import write_whole
from ..models.catalogue import Model
from ..models.request import Request
from . import plain_runs
from .outcome import Outcome

logger = logging.getLogger(__name__)

FORMAT = 1
LARGEST = 64_000_000  # bytes of all files of an entry
SUFFIX = ".zip"
NAMES = ("baseline", "base_alone", "accelerated", "side_by_side", "difference", "report")
DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, EOFError)


class Finished:
    """A folder of finished comparisons that never holds more than `limit` bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep a finished outcome under this key; a full or broken disk is logged, nothing else."""
        held = BytesIO()
        try:
            with zipfile.ZipFile(held, "w") as archive:
                for path in map(Path, outcome.paths.values()):
                    archive.write(path, path.name)
            if held.tell() <= min(LARGEST, self._limit):
                write_whole(self._folder / f"{key}{SUFFIX}", held.getvalue())
            self._trim()
        except OSError as error:
            logger.warning("a finished run could not be stored: %s", error)

    def get(self, key: str, folder: Callable[[], Path]) -> Outcome | None:
        """Return the outcome of this key, its files in the empty `folder()`; None without one."""
        path = self._folder / f"{key}{SUFFIX}"
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                return _unpacked(archive, folder())
        except (*DAMAGE, zipfile.BadZipFile) as error:
            logger.warning("a finished run is damaged (%s) and was dropped", error)
            path.unlink(missing_ok=True)
            return None

    def _trim(self) -> None:
        entries = [(path.stat(), path) for path in self._folder.glob(f"*{SUFFIX}")]
        held = sum(stat.st_size for stat, _ in entries)
        for stat, path in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
            if held <= self._limit:
                return
            path.unlink(missing_ok=True)
            held -= stat.st_size


def _unpacked(archive: zipfile.ZipFile, folder: Path) -> Outcome:
    """Write the files of an entry; raises ValueError unless they are those of a comparison."""
    infos = [info for info in archive.infolist() if Path(info.filename).stem in NAMES]
    if sum(info.file_size for info in infos) > LARGEST:
        raise ValueError("its files are too large")
    paths = {}
    for info in infos:
        path = folder / Path(info.filename).name
        path.write_bytes(archive.read(info))
        paths[path.stem] = str(path)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if not {"baseline", "accelerated", "difference"} <= set(paths) or "verdict" not in report:
        raise ValueError("it is no comparison")
    return Outcome(paths, report, done=True)


def key(model: Model, request: Request, device: str) -> str:
    """Return the name of a finished comparison: a hash of all that shapes it."""
    facts = {
        "format": FORMAT,
        "model": [model.source, model.revision, plain_runs.weights(model)],
        "request": request.to_dict(),
        "device": device,
        "versions": environment.versions(),
    }
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
