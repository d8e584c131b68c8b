"""What tune is asked for: all that can be refused is refused before anything runs, with the value and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zcache
from zcache import ConfigError
from zcache.measure.tune.asked import Asked, steps_of

from ... import pipelines

CALL = {"num_inference_steps": 8, "guidance_scale": 1.0}
SMALL = {"effort": 12, **CALL}


def refused(prompts: Any = (0, 1, 0), **asked: Any) -> str:
    """What a tuning is refused with; no step of any run was taken, and no cost told."""
    pipe, begun = pipelines.dit(), []
    pipe.transformer.register_forward_pre_hook(lambda *_: begun.append("a pass"))
    with pytest.raises(ConfigError) as caught:
        zcache.tune(pipe, prompts, **{**CALL, "told": begun.append, **asked})
    assert begun == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"batch": 0}, "batch is 0; give a whole number from 1 up"),
        ({"full": 1}, "full is 1; give a whole number from 2 to 8"),
        ({"full": 2.5}, "full is 2.5; give a whole number from 2 to 8"),
        ({"full": 9}, "full is 9; give a whole number from 2 to 8"),
        ({"full": 3, "psnr": 30}, "give one of full, speedup and psnr"),
        ({"budgets": [3, 1]}, "a budget is 1; give a whole number from 2 to 8"),
        ({"budgets": [3, 20]}, "a budget is 20; give a whole number from 2 to 8"),
        ({"budgets": 5}, "budgets is 5; give a list of numbers of full steps"),
        ({"speedup": "3"}, "speedup is '3'; give a number from 1 up"),
        ({"speedup": [3]}, "speedup is [3]; give a number from 1 up"),
        ({"speedup": float("nan")}, "speedup is nan; give a number from 1 up"),
        ({"speedup": float("inf")}, "speedup is inf; give a number from 1 up"),
        ({"speedup": 4.1}, "speedup is 4.1, and two full steps of 8 give 4 at most; ask for less"),
        ({"psnr": "x"}, "psnr is 'x'; give a number from 0 to 100"),
        ({"psnr": 101}, "psnr is 101; give a number from 0 to 100"),
        ({"effort": 0}, "effort is 0; give uncached runs' time, a number above 0"),
        ({"seed": "x"}, "seed is 'x'; give a whole number from 0 to"),
        ({"granularity": "x"}, "granularity 'x' is unknown; choose one of: automatic, stack"),
        ({"granularity": ["stack"]}, "granularity ['stack'] is unknown; choose one of"),
        ({"folder": 5}, "folder is 5; give a path"),
        ({"folder": __file__}, "test_asked.py, which is a file; give a folder"),
        ({"output_type": "jpg"}, "output_type is 'jpg'; give one of: np, pt, pil, latent"),
        ({"num_inference_steps": "8"}, "num_inference_steps is '8'; give a whole number from 2"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0; give a whole number from 2"),
        ({"num_inference_steps": 1}, "num_inference_steps is 1; give a whole number from 2"),
        ({"held_out": 3}, "held_out is 3; give a list of one or more prompts"),
        ({"held_out": "x"}, "held_out is 'x'; give a list"),
        ({"held_out": []}, "held_out is []; give a list of one or more prompts"),
        ({"prompts": 5}, "prompts is 5; give a list of two or more prompts"),
        ({"prompts": None}, "prompts is None; give a list"),
        ({"prompts": "a star"}, "prompts is 'a star'; give a list"),
        ({"prompts": {"class_labels": [1]}}, "prompts is {'class_labels': [1]}; give a list"),
        ({"prompts": []}, "prompts is []; give two or more"),
        ({"prompts": [1]}, "prompts is [1]; give two or more, one of them to judge by"),
        ({"prompts": [], "held_out": [1]}, "prompts is []; give a list of one or more"),
        ({"prompts": [None, 2.5]}, "a prompt is None; give text"),
        (
            {"prompts": [1, {"class_labels": [1], "num_inference_steps": 9}]},
            "num_inference_steps is 8 of one prompt and 9 of another; give all the same",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(asked: dict[str, Any], said: str) -> None:
    assert said in refused(**asked)


@pytest.mark.parametrize(
    "goal",
    [{"full": 4}, {"budgets": [2, 3]}, {"speedup": 2}, {"psnr": 1}, {"granularity": "stack"}],
)
def test_an_effort_that_no_goal_is_reached_with_is_refused_before_a_run(
    goal: dict[str, Any],
) -> None:
    said = refused(effort=3, **goal)
    assert "effort is 3 uncached runs, and these prompts and budgets need" in said
    assert "give more effort" in said


def test_an_effort_that_nobody_gave_is_called_the_default() -> None:
    assert "effort is 6 (the default) uncached runs" in refused(budgets=[3, 4, 5, 6, 7])


def test_a_folder_that_cannot_be_made_is_refused_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pipe, passes = pipelines.dit(), []
    pipe.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(ConfigError, match=r"file/deep cannot be made \(Not a directory\); give an"):
        zcache.tune(pipe, [0, 1], full=3, folder=tmp_path / "file" / "deep", **SMALL)
    assert passes == []


@pytest.mark.parametrize(
    "output", [{"output_type": "pil"}, {"output_type": "pt"}, {"return_dict": False}]
)
def test_whatever_output_is_asked_for_what_is_measured_is_the_same(output: dict[str, Any]) -> None:
    """Those of PIL are whole numbers up to 255, and PSNR takes 1 for their peak: 48 dB less than there are."""
    plain, other = (
        zcache.tune(pipelines.dit(), [0, 1, 1], full=4, **SMALL, **more) for more in ({}, output)
    )

    assert other.budgets == plain.budgets
    assert other.figures[4]["psnr"] == plain.figures[4]["psnr"]


@pytest.mark.parametrize(("asked", "steps", "full"), [
    ({}, 6, 3), ({}, 3, 2), ({}, 20, 10), ({"psnr": 1}, 3, 3), ({"psnr": 1}, 6, 4), ({"speedup": 1}, 2, 2),
])  # fmt: skip
def test_a_number_that_nobody_gave_fits_the_steps(
    asked: dict[str, Any], steps: int, full: int
) -> None:
    call = {**CALL, "num_inference_steps": steps}
    assert zcache.tune(pipelines.dit(), [0, 1], effort=16, **asked, **call).default == full


def test_numbers_of_numpy_are_numbers() -> None:
    asked = Asked(full=np.int64(4), effort=np.float32(9), seed=np.int64(3), budgets=np.array([5]))
    assert asked == Asked(full=4, effort=9.0, seed=3, budgets=[5])


@pytest.mark.parametrize(
    ("call", "steps"),
    [
        ({}, 50),  # DiT's own
        ({"num_inference_steps": np.int64(7)}, 7),
        ({"num_inference_steps": 7, "sigmas": [1.0, 0.5, 0.2]}, 3),
        ({"timesteps": iter([1, 2])}, None),
    ],
)
def test_the_steps_of_a_call_are_those_it_gives_or_the_pipelines_own(
    call: dict[str, Any], steps: int | None
) -> None:
    assert steps_of(pipelines.dit(), [call]) == steps
    if "num_inference_steps" not in call and steps:
        assert steps_of(pipelines.flux(), [{"prompt_embeds": torch.zeros(1)}]) == 28
