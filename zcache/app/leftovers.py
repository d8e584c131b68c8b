"""The one folder of this process for what it makes, which is gone when the process is, however it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

_made: list[Path] = []


def place(name: str) -> Path:
    """Return a folder of this process, by name; made anew if somebody removed it."""
    if not _made:
        _made.append(Path(tempfile.mkdtemp(prefix="zcache-app-")))
        atexit.register(_remove, os.getpid())
    folder = _made[0] / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def end_tidily() -> None:
    """Let SIGTERM end this process as its own end would, so that nothing is left behind."""
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    raise SystemExit(0)


def _remove(owner: int) -> None:
    if os.getpid() == owner:  # not a worker that was forked
        for root in _made:
            shutil.rmtree(root, ignore_errors=True)
