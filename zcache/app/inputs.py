"""The left column of a tab: what to make, and how to cache."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..method import bases, weights
from ..models import profiles
from ..models.examples import EXAMPLES
from ..models.request import APP, FRAME_MULTIPLE, PROMPT_LENGTH, SEED_MAX, Request
from . import engine, forecast

PRESETS = {"Quality": 3, "Balanced": 5, "Fast": 8, "Too far": 20}  # intervals, without a profile
TUNED, FIRST = (
    (3.0, 5.0, 7.0),
    5.0,
)  # times fewer FLOPs that presets of a profile are near, and the first one's
BY_HAND = ("By hand", 0)
CACHE = ("interval", "base", "weight", "reflect", "steps")  # what a preset of a profile settles


def build(kind: str) -> dict[str, Any]:
    """Lay out the inputs of a kind of model; return the components by the names of the settings,
    the buttons `go` and `halt`, `randomise`, the lines `world` and `cost`, the `curve`. Of a model with a
    profile one of them is `tuned`, of any other there is a `preset`."""
    subject = _label() if kind == "class" else _prompt(kind)
    with gr.Row(elem_classes="zc-buttons"):
        go = gr.Button("Run", variant="primary", min_width=120, elem_id=f"{kind}-run")
        halt = gr.Button(
            "Stop", variant="stop", interactive=False, min_width=120, elem_id=f"{kind}-stop"
        )
    world = gr.HTML(
        elem_classes="zc-plan", padding=False
    )  # below the buttons, which then stay in place
    preset = _preset(kind)
    by_hand = "preset" in preset
    interval = gr.Slider(
        *APP.interval, Request.interval, step=1, label="Interval N", visible=by_hand,
        info="Steps that are computed in full stand at most N apart, those between are predicted. 1 computes all; "
        "the larger N is, the faster, until the picture breaks.",
    )  # fmt: skip
    cost = gr.HTML(elem_classes="zc-plan", padding=False)
    with gr.Accordion("Advanced", open=False):
        advanced = _advanced(kind, by_hand)
    if kind in EXAMPLES:
        gr.Examples(
            [[example] for example in EXAMPLES[kind]],
            [subject["prompt"]],
            label="Examples",
            api_visibility="private",
        )
    return {
        **subject, "world": world, "go": go, "halt": halt, **preset, "interval": interval, "cost": cost,
        **advanced,
    }  # fmt: skip


def presets(kind: str) -> list[tuple[str, int]]:
    """Return name and number of full steps of a few settings of a model's profile; a name says what it saves."""
    profile = engine.of(kind).profile
    near = profiles.near(profile, TUNED) if profile else {}
    names = [f"{forecast.saves(kind, full):.1f} times" for full in near]
    return [
        (f"{name} fewer FLOPs" if not i else name, full)
        for i, (name, full) in enumerate(zip(names, near, strict=True))
    ]


def settled(kind: str, tuned: int) -> dict[str, dict[str, Any]]:
    """Return what a choice of the preset changes of the controls that it settles, by name: whether they are
    seen, and the steps that a profile was tuned for."""
    changes: dict[str, dict[str, Any]] = {
        name: {"visible": not tuned} for name in (*CACHE, "curve")
    }
    profile = engine.of(kind).profile
    if tuned and profile is not None:
        changes["steps"]["value"] = profile.call["num_inference_steps"]
    return changes


def preset_of(interval: int) -> str | None:
    """Return the name of the preset that has this interval, if one has."""
    return next((name for name, value in PRESETS.items() if value == interval), None)


def own_frames() -> int:
    """Return how many frames the clips of the video model have when nobody asks for others."""
    return engine.of("video").model.call.get("num_frames", APP.frames[0])


def own_rate() -> int:
    """Return the frames per second at which the clips of the video model are meant to be seen."""
    return engine.of("video").model.fps


def _prompt(kind: str) -> dict[str, Any]:
    box = gr.Textbox(
        EXAMPLES[kind][0], label="Prompt", lines=2, max_length=PROMPT_LENGTH,
        info="Shift+Enter runs it, Enter begins a new line.",
    )  # fmt: skip
    return {"prompt": box}


def _label() -> dict[str, Any]:
    names = engine.of("class").labels()
    return {"label": gr.Dropdown(names, value=names[0] if names else None, label="Class")}


def _preset(kind: str) -> dict[str, Any]:
    profile = engine.of(kind).profile
    if profile is None or not (tuned := presets(kind)):
        return {"preset": gr.Radio(list(PRESETS), value="Balanced", label="Preset")}
    first = next(iter(profiles.near(profile, [FIRST])))
    info = (
        "What is saved, in FLOPs (operations of arithmetic). Tuned for this model: which steps are computed "
        "in full and how the others are corrected was found on other subjects."
    )
    choices = [*tuned, BY_HAND]
    return {"tuned": gr.Radio(choices, value=first, label="Preset", info=info)}


def _advanced(kind: str, by_hand: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "base": gr.Dropdown(
            list(bases.choices()),
            value=Request.base,
            visible=by_hand,
            label="Base strategy",
            info="How a skipped step is predicted: taylorseer continues the trend of the last full "
            "steps, damped half of it, fora repeats the last one, teacache repeats it and computes anew when the "
            "input has changed enough; hicache, foca and spectrum continue the trend along other curves (Hermite "
            "polynomials, a predictor with a correction, a fit by Chebyshev polynomials); automatic is taylorseer "
            "(for classes along the angle of picture and noise), and damped, or fora where the output turns far, on "
            "a flow with guidance.",
        ),
        "weight": gr.Dropdown(
            list(weights.choices()),
            value=Request.weight,
            visible=by_hand,
            label="Weight function",
            info="When predicted steps are redone, how much the full step after them counts against "
            "the one before them: the curve shows it, step by step.",
        ),
        "curve": gr.HTML(
            forecast.curve(kind, {}),
            elem_classes="zc-steps",
            padding=False,
            visible=by_hand,
        ),
        "reflect": gr.Checkbox(
            Request.reflect,
            label="Reflect",
            visible=by_hand,
            info="What makes it Z-Cache: when the next full step is done, the predicted steps before it "
            "are redone with it. Off, the base strategy runs alone.",
        ),
        "steps": gr.Slider(
            *APP.steps,
            Request.steps,
            step=1,
            label="Steps",
            visible=by_hand,
            elem_id=f"{kind}-steps",
            info="How many steps lead from noise to the picture.",
        ),
    }
    if kind == "video":
        settings["frames"] = gr.Slider(
            *APP.frames, own_frames(), step=FRAME_MULTIPLE, label="Frames"
        )
        settings["fps"] = gr.Slider(*APP.fps, own_rate(), step=1, label="Frames per second")
    settings["seed"] = gr.Number(  # without limits, so that one outside them is told in words
        Request.seed, label="Seed",
        info=f"Of the noise that the drawing begins with: a whole number from 0 to {SEED_MAX}.",
    )  # fmt: skip
    settings["randomise"] = gr.Checkbox(False, label="New seed for each run")
    return settings
