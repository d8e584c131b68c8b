"""The shift of a model's flow, known before its run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zcache.models import loading
from zcache.models.catalogue import KNOWN
from zcache.models.request import Request
from zcache.models.shift import flow_times


@pytest.mark.parametrize(
    ("name", "size", "shift"),
    [
        ("flux-dev", {}, math.exp(1.15)),  # of 4096 tokens, as at 1024 x 1024
        ("flux-dev", {"height": 256, "width": 256}, math.exp(0.5)),  # 256
        ("hunyuan-video", {}, 7.0),
        ("mini-hunyuan", {}, 7.0),
    ],
)
def test_a_known_models_time_falls_by_its_shift(
    name: str, size: dict[str, int], shift: float
) -> None:
    """Halfway an even time is 1/2, and shift t / (1 + (shift - 1) t) is shift / (1 + shift)."""
    times = flow_times(KNOWN[name], Request(kind=KNOWN[name].kind, steps=10, **size))
    assert len(times) == 10 and times[0] == 1.0
    assert times[5] == pytest.approx(shift / (1 + shift))


def test_a_diffusion_has_none() -> None:
    assert flow_times(KNOWN["mini-dit"], Request(kind="class", steps=10)) == []


@torch.no_grad()
def test_the_embedded_flux_runs_at_these_times() -> None:
    model, request = KNOWN["mini-flux"], Request(prompt="a cat", steps=6, height=64, width=96)
    pipe = loading.load("mini-flux", "cpu")
    pipe.set_progress_bar_config(disable=True)
    pipe(**loading.call_arguments(model, request) | {"output_type": "latent"})
    assert flow_times(model, request) == pytest.approx(
        pipe.scheduler.sigmas[:-1].tolist(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("config", "shift"),
    [
        ({"shift": 3.0}, 3.0),
        ({}, None),
        ({"shift": 3.0, "use_karras_sigmas": True}, None),
        ({"use_dynamic_shifting": True, "time_shift_type": "linear"}, None),
    ],
)
def test_a_folders_scheduler_says_it(
    config: dict[str, Any], shift: float | None, tmp_path: Path
) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    model = replace(KNOWN["flux-dev"], source=str(tmp_path))
    times = flow_times(model, Request(steps=10))
    assert times == [] if shift is None else times[5] == pytest.approx(shift / (1 + shift))
