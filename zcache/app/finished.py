"""Finished comparisons on disk, so that a shared link opens with its result.

An entry is one file, named by the hash of the model, its weights, the whole request and the versions.
Files appear whole or not at all, the oldest go when the folder is full, a damaged one is dropped when it
is met, and one that cannot be read just now is kept.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
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


class Finished:
    """A folder of finished comparisons that never holds more than `limit` bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep a finished outcome under this key; a full or broken disk is logged, nothing else."""
        held = BytesIO()
        try:
            with zipfile.ZipFile(held, "w") as archive:
                for path in map(Path, outcome.paths.values()):
                    archive.write(path, path.name)
            if held.tell() <= min(LARGEST, self._limit):
                write_whole(self._folder / f"{key}{SUFFIX}", held.getvalue())
            with self._lock:
                plain_runs.trim(self._folder, SUFFIX, self._limit)
        except OSError as error:
            logger.warning("a finished run could not be stored: %s", error)

    def get(self, key: str, folder: Callable[[], Path]) -> Outcome | None:
        """Return the outcome of this key, its files in the empty `folder()`; None without one."""
        path = self._folder / f"{key}{SUFFIX}"
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                return _unpacked(archive, folder())
        except FileNotFoundError:
            return None
        except OSError as error:  # which may pass
            logger.warning("a finished run cannot be read: %s", error)
            if error.errno == errno.EINVAL:  # its index points outside the file
                plain_runs.remove(path)
            return None
        except (*plain_runs.DAMAGE, RuntimeError) as error:
            logger.warning("a finished run is damaged (%s) and was dropped", error)
            plain_runs.remove(path)
            return None


def _unpacked(archive: zipfile.ZipFile, folder: Path) -> Outcome:
    """Write the files of an entry; raises ValueError unless they are those of a comparison."""
    infos = [info for info in archive.infolist() if Path(info.filename).stem in NAMES]
    if len(infos) != len(archive.infolist()):
        raise ValueError("it holds other files")
    if sum(info.file_size for info in infos) > LARGEST:
        raise ValueError("its files are too large")
    paths = {}
    for info in infos:
        path = folder / Path(info.filename).name
        path.write_bytes(archive.read(info))
        paths[path.stem] = str(path)
    report = json.loads(Path(paths["report"]).read_text(encoding="utf-8"))
    if not {"baseline", "accelerated", "difference"} <= set(paths) or "verdict" not in report:
        raise ValueError("it is no comparison")
    return Outcome(paths, report, done=True)


def key(model: Model, request: Request, device: str) -> str:
    """Return the name of a finished comparison: a hash of all that shapes it."""
    facts = {
        "format": FORMAT,
        "model": plain_runs.identity(model),
        "request": request.to_dict(),
        "device": device,
        "versions": environment.versions(),
    }
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
