"""The named endpoints for `gradio_client`, `curl` and other programs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .. import bases, weights
from ..config import GRANULARITIES, MAX_ORDER
from ..request import APP, EXAMPLES, PROMPT_LENGTH, SEED_MAX, Request
from . import run

ON_DEVICE: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1}


def compare_image(
    prompt: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    seed: int,
    order: int,
    granularity: str,
) -> tuple[str, str, dict[str, Any]]:
    """Draw one prompt with and without Z-Cache; return baseline file, accelerated file, report."""
    outcome = run.compare_image(
        prompt=prompt,
        interval=interval,
        base=base,
        weight=weight,
        reflect=reflect,
        steps=steps,
        seed=seed,
        order=order,
        granularity=granularity,
    )
    return outcome.paths["baseline"], outcome.paths["accelerated"], outcome.report


def add_endpoints() -> None:
    """Add /compare_image to the page in progress.

    Its inputs have no limits of their own: a browser and a program are told the same sentence.
    """
    hidden: dict[str, Any] = {"visible": False}
    whole = "{}, a whole number from {} to {}".format
    inputs = [
        gr.Textbox(EXAMPLES["image"][0], label=f"Prompt, 1 to {PROMPT_LENGTH} characters", **hidden),
        gr.Number(Request.interval, label=whole("Interval", *APP.interval), **hidden),
        gr.Textbox(Request.base, label=_one_of("Base strategy", bases.names()), **hidden),
        gr.Textbox(Request.weight, label=_one_of("Weight function", weights.names()), **hidden),
        gr.Checkbox(Request.reflect, label="Go back over each window", **hidden),
        gr.Number(Request.steps, label=whole("Steps", *APP.steps), **hidden),
        gr.Number(Request.seed, label=whole("Seed", 0, SEED_MAX), **hidden),
        gr.Number(Request.order, label=whole("Order of the base", 0, MAX_ORDER), **hidden),
        gr.Textbox(Request.granularity, label=_one_of("Granularity", GRANULARITIES), **hidden),
    ]
    outputs = [
        gr.File(label="Baseline picture (PNG)", **hidden),
        gr.File(label="Accelerated picture (PNG)", **hidden),
        gr.JSON(label="Report", **hidden),
    ]
    trigger = gr.Button(**hidden)
    trigger.click(compare_image, inputs, outputs, api_name="compare_image", **ON_DEVICE)


def _one_of(what: str, names: tuple[str, ...]) -> str:
    return f"{what}, one of {', '.join(names)}"
