"""What a command says: figures as JSON or in words, how far it is, an error in one line with its cure; and
where it writes."""

from __future__ import annotations

import errno
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.request import Request, RequestError

if TYPE_CHECKING:
    from ..models.catalogue import Model

SECONDS_APART = 0.1  # between two lines of progress
SIDES = {"accelerated": "Z-Cache", "baseline": "plain", "again": "Z-Cache, timed once more"}
NAMES = {".png": "picture", ".mp4": "clip"}  # what a file of an ending holds
PICTURES = {".png", ".apng", ".bmp", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp"}
MEDIA = PICTURES | {".avi", ".mkv", ".mov", ".mp4", ".webm"}
CURES = {
    errno.ENOENT: "is not there: check the path",
    errno.EACCES: "may not be read or written by you: choose another place",
    errno.EPERM: "may not be read or written by you: choose another place",
    errno.EROFS: "is on a disk that is read-only: choose another place",
    errno.ENOTDIR: "leads through a file as if it were a folder: choose another place",
    errno.EEXIST: "is a file where a folder is needed: choose another place, or move it away",
    errno.EISDIR: "is a folder where a file is needed: name a file",
    errno.ENOSPC: "does not fit: the disk is full; free some space, or choose another disk",
    errno.ENAMETOOLONG: "is too long a name: choose a shorter one",
}


def sentence(error: BaseException) -> str:
    """Return an error in one line; of one of a file, which it is and how to cure it."""
    if isinstance(error, OSError) and error.filename and error.errno in CURES:
        return f"{error.filename} {CURES[error.errno]}"
    return " ".join(str(error).split()) or type(error).__name__


def in_words(report: dict[str, Any]) -> str:
    """Return the figures of a comparison in one sentence, an estimate marked, and its verdict in another."""
    speed = f"{report['speedup']:.2f} ± {report['speedup_spread']:.2f} times faster"
    if report["speedup_is"] == "estimated":
        speed = f"about {speed}, estimated"
    loop, ends = (
        f"{report[f'baseline_seconds{which}']:.2f} s to {report[f'accelerated_seconds{which}']:.2f} s"
        for which in ("", "_end_to_end")
    )
    parts = [
        f"{speed} ({loop})",
        f"end to end {report['speedup_end_to_end']:.2f} ({ends})",
        *([f"{report['flops_speedup']:.2f} times fewer FLOPs"] if report["flops_speedup"] else []),
        "identical" if report["identical"] else f"PSNR {report['psnr']:.1f} dB",
        f"SSIM {report['ssim']:.3f}",
    ]
    how = f"; the speedup: {report['speedup_how']}" if report["speedup_how"] else ""
    return f"{', '.join(parts)}{how}\n{report['verdict']['sentence']}"


def tell_outside(model: Model, request: Request) -> list[str]:
    """Return the words of a prompt that an embedded model was not taught; say them on stderr if there are any."""
    from ..models.mini import world

    words = world.outside(model.name, request.prompt)
    if words:
        known = "it draws only what it knows, and a larger model is for the rest"
        print(f"{model.name} was not taught: {', '.join(words)}; {known}", file=sys.stderr)
    return words


def output_path(out: Path, suffix: str) -> Path:
    """Return `out` itself if it names a file of this kind, else a new name in the folder `out`.

    Raises RequestError when `out` names a file of another kind.
    """
    ending = out.suffix.lower()
    if ending != suffix and ending in MEDIA:
        raise RequestError(
            f"out is {out}, but this model makes a {NAMES[suffix]}: "
            f"end the name in {suffix}, or give a folder"
        )
    path = out if ending == suffix else out / f"{NAMES[suffix]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def output_file(name: str, out: Path, *endings: str) -> Path:
    """Return `out` with its folder made; raises RequestError when it is no file of these endings."""
    if out.suffix not in endings or out.is_dir():
        raise RequestError(f"{name} is {out}; give a file that ends in {' or '.join(endings)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def output_folder(out: Path) -> Path:
    """Return `out`, made if need be; raises RequestError when it names a picture or clip."""
    if out.suffix.lower() in MEDIA:
        raise RequestError(f"out is {out}, but compare writes several files: give a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


class Progress:
    """One line on a terminal that says what is being done; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._told, self._length = 0.0, 0

    def say(self, text: str) -> None:
        """Show `text` in the place of what was shown."""
        if self._shown:
            print(f"\r{text.ljust(self._length)}", end="", file=sys.stderr, flush=True)
            self._length = len(text)

    def on_pass(self, side: str, step: int, kind: str, num_steps: int) -> None:
        """Show how far a side is, a few times a second."""
        if (now := time.monotonic()) - self._told >= SECONDS_APART or step == num_steps - 1:
            what = "" if kind == "plain" else f", {kind}"
            self.say(f"{SIDES[side]}: step {step + 1} of {num_steps}{what}")
            self._told = now

    def end(self) -> None:
        """Leave the terminal's line empty."""
        if self._shown and self._length:
            print(f"\r{' ' * self._length}\r", end="", file=sys.stderr, flush=True)
            self._length = 0
