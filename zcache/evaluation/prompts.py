"""What is drawn: prompts or classes, from a file, from the Hub, or from the embedded grammars.

embedded    captions that the embedded models have not seen, or their classes in turn
parti       PartiPrompts, 1,632 prompts (Yu et al. 2022), from the Hub; the paper takes 1,600
vbench      VBench's prompt list, 944 prompts, as the vbench package holds it
imagenet    the classes of the model, in turn (the paper: 50,000 samples of 1,000 classes)
FILE        .txt with a prompt on each line, .tsv with a column Prompt, .json with a list of prompts
            (or of VBench's entries); for classes, their names or numbers"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..models import hub, loading
from ..models.catalogue import Model
from ..models.request import RequestError, label, text

JUDGED = 64  # of the embedded captions: those that the tables in examples judge by
PARTI = ("nateraw/parti-prompts", "PartiPrompts.tsv")


def read(name: str, model: Model, count: int | None) -> list[Any]:
    """Return prompts, or ids of classes for a model of the kind "class", in a fixed order.

    Args:
        name: "embedded", "parti", "vbench", "imagenet" or the path of a file.
        count: how many samples will be drawn; decides only how many captions are made for
            "embedded", which has no end.

    Raises:
        ConfigError: an unknown name, a list of another kind, or a file that holds none.
        CheckpointError: the Hub cannot be reached, or the model names no classes.
    """
    if model.kind == "class":
        return _classes(name, loading.labels(model))
    if name == "imagenet":
        raise ConfigError(
            f"prompts 'imagenet' are classes, and {model.name} takes prompts: use 'parti'"
        )
    if name == "embedded":
        return _captions(model.kind, count or 32)
    if name == "parti":
        return from_file(_parti())
    if name == "vbench":
        return from_file(_vbench())
    return from_file(Path(name))


def for_tuning(name: str, model: Model, count: int) -> list[Any]:
    """As `read`, but of the embedded captions none by which the tables in examples judge what was tuned, and each
    once."""
    if name != "embedded" or model.kind == "class":
        return read(name, model, count)
    drawn = _captions(model.kind, JUDGED + 8 * count)
    judged = set(drawn[:JUDGED])
    return [caption for caption in dict.fromkeys(drawn) if caption not in judged][:count]


def from_file(path: Path) -> list[str]:
    """Return the prompts of a .txt, .tsv or .json file, repeats left out, in order.

    Raises:
        ConfigError: no such file, another kind of file, or none or a bad prompt in it.
    """
    if not path.is_file():
        raise ConfigError(
            f"prompts {str(path)!r} are neither embedded, parti, vbench, imagenet nor a file: give one of these"
        )
    try:
        written = path.read_text(encoding="utf-8")
        listed = json.loads(written) if path.suffix == ".json" else []
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): write it anew, in UTF-8") from error
    if path.suffix == ".json":
        if not isinstance(listed, list):
            raise ConfigError(f"{path} holds {listed!r:.60}; it must be a list: put prompts in [ ]")
        found = [_prompt_of(entry, path) for entry in listed]
    elif path.suffix == ".tsv":
        found = [
            row.get("Prompt") or "" for row in csv.DictReader(written.splitlines(), delimiter="\t")
        ]
    elif path.suffix == ".txt":
        found = written.splitlines()
    else:
        raise ConfigError(
            f"prompts {path.name} end in {path.suffix!r}: give a .txt, .tsv or .json file"
        )
    prompts = list(dict.fromkeys(line.strip() for line in found if line.strip()))
    if not prompts:
        raise ConfigError(f"{path} holds no prompts: write one on each line of a .txt file")
    try:
        return [text(prompt) for prompt in prompts]
    except RequestError as error:
        raise ConfigError(f"{path}: {error}") from error


def sample(subjects: Sequence[Any], index: int) -> Any:
    """The subject of sample `index`: every subject once, then every one again, with other seeds."""
    return subjects[index % len(subjects)]


def _prompt_of(entry: Any, path: Path) -> str:
    found = entry.get("prompt_en") if isinstance(entry, dict) else entry
    if not isinstance(found, str):
        raise ConfigError(f"{path} has {entry!r:.60} where a prompt stands: write text")
    return found


def _classes(name: str, labels: dict[str, int]) -> list[int]:
    if name in ("embedded", "imagenet"):
        return sorted(set(labels.values()))
    if name in ("parti", "vbench"):
        raise ConfigError(
            f"prompts {name!r} are text, and this model draws classes: use 'imagenet'"
        )
    try:
        return [label(line, labels) for line in from_file(Path(name))]
    except RequestError as error:
        raise ConfigError(f"{name}: {error}") from error


def _captions(kind: str, count: int) -> list[str]:
    from ..models.mini import motion, scenes

    grammar = motion if kind == "video" else scenes
    return [grammar.caption(drawn) for drawn in grammar.samples(count, "held-out", seed=0)]


def _parti() -> Path:
    from huggingface_hub import hf_hub_download

    repo, filename = PARTI
    try:
        return Path(hf_hub_download(repo, filename, repo_type="dataset"))
    except Exception as error:
        raise hub.explained(f"datasets/{repo}", error) from error


def _vbench() -> Path:
    try:
        return Path(str(resources.files("vbench") / "VBench_full_info.json"))
    except ImportError as error:
        raise ConfigError(
            "prompts 'vbench' are in the vbench package, which is not installed: install it, or give the "
            "VBench_full_info.json of github.com/Vchitect/VBench as a file"
        ) from error
