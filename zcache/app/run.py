"""What happens when somebody asks for a comparison: check, run, write the files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..compare import Comparison, Generation
from ..request import APP, checked
from .device import forget, run_on_device
from .errors import told

KEPT_RUNS = 16  # Gradio copies what it serves; these are only the originals


@dataclass(frozen=True)
class Outcome:
    """One stage of a run: first only the accelerated picture, then everything.

    `paths` has "accelerated", and when `done` also "baseline", "side_by_side" and "report".
    """

    paths: dict[str, str]
    report: dict[str, Any] = field(default_factory=dict)
    accelerated_seconds: float = 0.0
    done: bool = False


def outcomes(session: str = "", **raw: Any) -> Iterator[Outcome]:
    """Yield the stages of one comparison; every input in `raw` is checked before anything runs.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            request = checked(APP, **raw)
            folder = _new_folder()
            for stage in run_on_device(request, session):
                yield _written(stage, folder)
    finally:
        forget(session)


def compare_image(**raw: Any) -> Outcome:
    """Return the last stage of `outcomes`: both pictures and the report."""
    *_, last = outcomes(**raw)
    return last


def _written(stage: Generation | Comparison, folder: Path) -> Outcome:
    if isinstance(stage, Comparison):
        paths = {name: str(path) for name, path in files.write_comparison(stage, folder).items()}
        return Outcome(paths, stage.report, stage.accelerated.denoise_seconds, done=True)
    path = folder / "accelerated.png"
    files.write(stage.frames, path)
    return Outcome({"accelerated": str(path)}, accelerated_seconds=stage.denoise_seconds)


def _new_folder() -> Path:
    """Return an empty folder of a random name, and drop the oldest ones."""
    old = sorted(_root().iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in old[: max(0, len(old) - KEPT_RUNS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=_root()))


_made: list[Path] = []


def _root() -> Path:
    if not _made or not _made[0].is_dir():
        root = Path(tempfile.mkdtemp(prefix="zcache-app-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        _made[:] = [root]
    return _made[0]
