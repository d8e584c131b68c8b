"""VBench: its total by hand, and how its program is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zcache import ConfigError
from zcache.evaluation import vbench
from zcache.evaluation.store import Store

from .noise import noise


def most() -> dict[str, float]:
    return {
        name: top
        for table in (vbench.QUALITY, vbench.SEMANTIC)
        for name, (_, top, _) in table.items()
    }


def test_the_total_of_the_best_clips_is_100_and_quality_counts_four_fifths():
    worst = {name: low for name, (low, _, _) in {**vbench.QUALITY, **vbench.SEMANTIC}.items()}
    assert vbench.total(most()) == pytest.approx(100.0)
    assert vbench.total(worst) == pytest.approx(0.0)
    mixed = most() | {name: worst[name] for name in vbench.SEMANTIC}
    assert vbench.total(mixed) == pytest.approx(80.0)


def test_dynamic_degree_counts_half_among_seven_qualities():
    """Without it 6 of 6.5 parts of quality are left: 80 * 6 / 6.5 + 20."""
    assert vbench.total(most() | {"dynamic_degree": 0.0}) == pytest.approx(80 * 6 / 6.5 + 20)


def test_vbench_reads_clips_by_prompt_and_gives_the_total(tmp_path, monkeypatch):
    store, ran = Store(tmp_path), []
    for index in range(3):
        store.write_frames("zcache:5", index, noise(5, 32, 32, 3, seed=index), clip=True)

    def run(command: list[Any], **_: Any) -> Any:
        ran.append([str(part) for part in command])
        results = Path(command[command.index("--output_path") + 1])
        results.mkdir(parents=True)
        raw = {name: [value, []] for name, value in most().items()}
        (results / "results_eval_results.json").write_text(json.dumps(raw))
        return type("Ran", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(vbench.subprocess, "run", run)
    total = vbench.score(store, "zcache:5", ["a fox", "a hen"], 3, fps=8)

    assert total == pytest.approx(100.0)
    clips = Path(ran[0][ran[0].index("--videos_path") + 1])
    assert sorted(p.name for p in clips.iterdir()) == ["a fox-0.mp4", "a fox-1.mp4", "a hen-0.mp4"]
    assert ran[0][:2] == ["vbench", "evaluate"] and set(most()) <= set(ran[0])


def test_a_missing_vbench_or_dimension_is_said(monkeypatch):
    monkeypatch.setattr(vbench.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="vbench is not on PATH"):
        vbench.check("video")
    with pytest.raises(ConfigError, match="VBench gave no subject_consistency"):
        vbench.total({})
