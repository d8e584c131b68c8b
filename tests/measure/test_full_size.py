"""The script for a GPU, run with tiny layers: every part of it works before there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "full_size.py"


@pytest.mark.parametrize("model", ["flux-dev", "hunyuan-video", "dit-xl-2"])
def test_every_measurement_is_made_in_one_call(model: str, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--tiny", "--no-peers", "--steps", "12", "--models", model]
    subprocess.run(list(map(str, [*command, "--out", tmp_path])), check=True)
    result = json.loads((tmp_path / f"{model}-tiny.json").read_text())
    assert all("error" not in row for row in result["methods"])
    assert all(row["restores_bit_exactly"] for row in result["methods"])
    rows = result["costs"]
    assert [row["granularity"] for row in rows] == 2 * ["stack", "output", "module"]
    for row in rows:
        assert row["efficiency"] > 0 and row["forecast_ms"] > 0 and row["reflect_ms"] > 0
        assert 0.6 * row["held"] <= row["reported"] <= row["held"]
        assert 0.6 * row["held"] <= row["estimated"] <= 1.4 * row["held"]
        if row["granularity"] != "module":
            assert row["forecast_floor_ms"] > 0 and row["efficiency_at_floor"] > 0
    table = (tmp_path / f"{model}-tiny.md").read_text()
    assert "forecast ms (floor)" in table and "MB held" in table
