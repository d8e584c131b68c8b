"""VBench's total of a set of clips, by its own runner (Huang et al. 2023).

The `vbench` command is run as a program of its own: its package needs libraries far older than ours,
so it lives in another environment, whose folder of commands is on PATH. The total is put together as
VBench does: every dimension is stretched between the least and the most it can be, then quality
counts four parts and semantics one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping

from ..errors import ConfigError
from ..measure.files import write
from .prompts import sample
from .store import Store, file_name, read_json, write_json

# Dimension: least, most, weight. Facts of VBench's published normalisation.
QUALITY = {
    "subject_consistency": (0.1462, 1.0, 1.0),
    "background_consistency": (0.2615, 1.0, 1.0),
    "temporal_flickering": (0.6293, 1.0, 1.0),
    "motion_smoothness": (0.706, 0.9975, 1.0),
    "aesthetic_quality": (0.0, 1.0, 1.0),
    "imaging_quality": (0.0, 1.0, 1.0),
    "dynamic_degree": (0.0, 1.0, 0.5),
}
SEMANTIC = {
    "object_class": (0.0, 1.0, 1.0),
    "multiple_objects": (0.0, 1.0, 1.0),
    "human_action": (0.0, 1.0, 1.0),
    "color": (0.0, 1.0, 1.0),
    "spatial_relationship": (0.0, 1.0, 1.0),
    "scene": (0.0, 0.8222, 1.0),
    "appearance_style": (0.0009, 0.2855, 1.0),
    "temporal_style": (0.0, 0.364, 1.0),
    "overall_consistency": (0.0, 0.364, 1.0),
}
QUALITY_PARTS, SEMANTIC_PARTS = 4, 1


def check(kind: str) -> None:
    """Raise ConfigError unless clips are made and the `vbench` command is there."""
    if kind != "video":
        raise ConfigError("metric 'vbench' judges clips; leave it out for pictures")
    if shutil.which("vbench") is None:
        raise ConfigError(
            "the command vbench is not on PATH: pip install vbench in an environment of its own and add "
            "that environment's bin folder to PATH, or leave this metric out"
        )


def total(dimensions: Mapping[str, float]) -> float:
    """The total in percent from the raw scores of all sixteen dimensions.

    Raises:
        ConfigError: a dimension is missing.
    """
    missing = [name for name in (*QUALITY, *SEMANTIC) if name not in dimensions]
    if missing:
        raise ConfigError(
            f"VBench gave no {missing[0]}: install what that dimension needs, and run again"
        )
    quality, semantic = (_mean(table, dimensions) for table in (QUALITY, SEMANTIC))
    parts = QUALITY_PARTS + SEMANTIC_PARTS
    return 100 * (QUALITY_PARTS * quality + SEMANTIC_PARTS * semantic) / parts


def _mean(table: Mapping[str, tuple[float, float, float]], found: Mapping[str, float]) -> float:
    stretched = (
        weight * (found[name] - least) / (most - least)
        for name, (least, most, weight) in table.items()
    )
    return sum(stretched) / sum(weight for _, _, weight in table.values())


def score(store: Store, method: str, prompts: list[str], count: int, fps: int) -> float:
    """Write a method's clips under the names that VBench reads, run it, and return the total;
    a total that is there is not worked out again.

    Raises:
        ConfigError: the command failed, or left a dimension out.
    """
    place = store.root / "vbench" / file_name(method)
    known = read_json(place / "total.json")
    if known is not None:
        return known
    clips, results = place / "clips", place / "results"
    clips.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name = f"{sample(prompts, index)}-{index // len(prompts)}.mp4".replace("/", "_")
        if not (clips / name).exists():
            os.replace(write(store.frames(method, index), place / "partial.mp4", fps), clips / name)
    command = ["vbench", "evaluate", "--videos_path", str(clips), "--output_path", str(results)]
    dimensions = ["--dimension", *QUALITY, *SEMANTIC]
    ran = subprocess.run([*command, *dimensions], capture_output=True, text=True)
    written = sorted(results.glob("*_eval_results.json"))
    if ran.returncode or not written:
        said = (ran.stderr.strip().splitlines() or ["nothing"])[-1][:200]
        raise ConfigError(
            f"vbench ended with {ran.returncode} and said {said!r}: cure that, and run again"
        )
    raw = json.loads(written[-1].read_text(encoding="utf-8"))
    found = total({name: float(value[0]) for name, value in raw.items()})
    write_json(place / "total.json", found)
    return found
