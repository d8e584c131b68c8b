"""The folder of one evaluation: what is done stays done, whenever the process is stopped.

    settings.json                  what every number depends on; other settings are refused
    samples/<method>/000012.png    a picture (.npz with `frames` for a clip), lossless
    samples/<method>/000012.json   its facts and scores; written after the picture, so it says "done"
    exact/000012.npy               the uncached sample before rounding, while methods are compared with it
    costs/<method>.json            FLOPs of one sample
    timings/<method>/000012.json   seconds of the denoising loop, the only files that a second run
                                   writes differently
    results.json, table.md, timings.json

Every file appears whole or not at all. Processes that share a run share the folder."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ConfigError
from ..measure.files import write_whole

# What a file that was cut or changed makes its readers raise.
DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, UnidentifiedImageError)


class Store:
    """The files of one evaluation under `root`; indices count samples from 0."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those that the folder was begun with.

        Raises:
            ConfigError: the folder holds samples of other settings; names the first that differs.
        """
        path = self.root / "settings.json"
        begun = read_json(path)
        wanted = json.loads(json.dumps(settings))
        if begun is None:
            write_json(path, wanted)
            return
        if not isinstance(begun, dict):
            raise damaged(path)
        for key in sorted({*begun, *wanted}):
            if begun.get(key) != wanted.get(key):
                raise ConfigError(
                    f"{self.root} was begun with {key} {_shown(begun.get(key))}, and {key} is "
                    f"{_shown(wanted.get(key))} now: take the same settings, or another --out"
                )

    def record(self, method: str, index: int) -> dict[str, Any] | None:
        """The facts and scores of a sample, None before it is drawn."""
        path = self._sample(method, index, ".json")
        record = read_json(path)
        if record is not None and not (
            isinstance(record, dict) and isinstance(record.get("scores"), dict)
        ):
            raise damaged(path)
        return record

    def done(self, method: str, index: int) -> dict[str, Any]:
        """The facts and scores of a sample that was drawn.

        Raises:
            ConfigError: it was not, or its file was removed.
        """
        record = self.record(method, index)
        if record is None:
            raise ConfigError(
                f"{self.root} lacks sample {index} of {method}: run the same command again"
            )
        return record

    def write_record(self, method: str, index: int, record: Mapping[str, Any]) -> None:
        """Say that a sample is done; its frames were written before."""
        write_json(self._sample(method, index, ".json"), record)

    def frames(self, method: str, index: int) -> np.ndarray:
        """The frames of a sample, (F, H, W, 3) uint8; F is 1 for a picture."""
        path = self._sample(method, index, ".png")
        if not path.exists():
            path = self._sample(method, index, ".npz")
        try:
            if path.suffix == ".png":
                with Image.open(path) as picture:
                    return np.asarray(picture.convert("RGB"))[None]
            with np.load(path) as stored:
                return stored["frames"]
        except DAMAGE as error:
            raise damaged(path) from error

    def write_frames(self, method: str, index: int, frames: np.ndarray, clip: bool) -> None:
        """Write (F, H, W, 3) uint8 frames without loss: a clip packed, a picture as PNG."""
        held = io.BytesIO()
        if clip:
            np.savez_compressed(held, frames=frames)
        else:
            Image.fromarray(frames[0]).save(held, "PNG")
        write_whole(self._sample(method, index, ".npz" if clip else ".png"), held.getvalue())

    def reference(self, index: int) -> np.ndarray | None:
        """The uncached frames before rounding, (F, H, W, 3); None when they are not kept."""
        try:
            return np.load(self._reference(index))
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            raise damaged(self._reference(index)) from error

    def write_reference(self, index: int, frames: np.ndarray) -> None:
        """Keep the uncached frames until every method has been compared with them."""
        held = io.BytesIO()
        np.save(held, frames)
        write_whole(self._reference(index), held.getvalue())

    def drop_reference(self, index: int) -> None:
        """Let go of them: they are large."""
        self._reference(index).unlink(missing_ok=True)

    def cost(self, method: str) -> dict[str, Any] | None:
        """`flops` of one sample, or why there are none (`error`)."""
        return read_json(self.root / "costs" / f"{file_name(method)}.json")

    def write_cost(self, method: str, cost: Mapping[str, Any]) -> None:
        write_json(self.root / "costs" / f"{file_name(method)}.json", cost)

    def write_seconds(self, method: str, index: int, seconds: float) -> None:
        """Note how long the denoising loop took for each sample of a batch."""
        folder = self.root / "timings" / file_name(method)
        write_json(folder / f"{index:06d}.json", {"seconds": seconds})

    def seconds(self, method: str) -> list[float]:
        """The noted seconds of a method's samples, in the order of the samples."""
        folder = self.root / "timings" / file_name(method)
        notes = map(read_json, sorted(folder.glob("[0-9]*.json")))
        return [note["seconds"] for note in notes if note is not None]

    def _reference(self, index: int) -> Path:
        return self.root / "exact" / f"{index:06d}.npy"

    def _sample(self, method: str, index: int, ending: str) -> Path:
        return self.root / "samples" / file_name(method) / f"{index:06d}{ending}"


def file_name(method: str) -> str:
    """A method's name as the name of a folder; different for different methods."""
    return re.sub(r"[^\w.,=+-]", lambda found: f"%{ord(found[0]):02X}", method)


def read_json(path: Path) -> Any | None:
    """What a JSON file holds, None if there is no such file; raises ConfigError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> ConfigError:
    """The refusal of a file that is not what was once written there, with the cure."""
    return ConfigError(f"{path} is damaged: remove it, and run the same command again")


def write_json(path: Path, values: Any) -> None:
    """Write sorted, indented JSON, whole or not at all."""
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
