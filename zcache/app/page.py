"""The page: inputs on the left, the two pictures and the figures on the right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from .. import bases, weights
from ..request import APP, EXAMPLES, PROMPT_LENGTH, SEED_MAX, Request
from . import device, engine, run, views
from .endpoints import ON_DEVICE, add_endpoints

INTRO = (
    "<h1>Z-Cache</h1><p>Draws the same picture twice, plainly and with a training-free feature "
    "cache, and measures what the cache saves and what it changes.</p>"
)
HOW = """
A diffusion transformer draws in many small steps, and neighbouring steps do almost the same work.
Z-Cache computes only every N-th step in full (**F**) and predicts what the steps between would have
computed (**f**). When the next full step is known, it goes back and redoes those steps with a blend
of the prediction from the past and the one that knows the future (**r**), which costs next to
nothing. Same prompt, same seed, same number of steps on both sides.
"""
PRESETS = {"Quality": 3, "Balanced": 5, "Fast": 8}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUICK: dict[str, Any] = {**PRIVATE, "queue": False, "show_progress": "hidden"}


def build_demo(host: engine.Engine | None = None) -> gr.Blocks:
    """Return the page; `host` is the engine to use, by default the one the environment asks for.

    The model begins to load in the background; the page is served before it is there.
    """
    engine.use(host or engine.Engine())
    engine.current().start()
    with gr.Blocks(title="Z-Cache", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        gr.HTML(INTRO, elem_classes="zc-head", padding=False)
        _status_line(demo)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                inputs = _inputs()
            with gr.Column(scale=3, min_width=300):
                outputs = _outputs()
        gr.Markdown(HOW)
        _wire(inputs, outputs)
        add_endpoints()
    return demo.queue(max_size=20)


def _status_line(demo: gr.Blocks) -> None:
    chip = gr.HTML(_chip(), elem_id="status", padding=False)
    timer = gr.Timer(1.0)

    def refresh() -> tuple[str, gr.Timer]:
        return _chip(), gr.Timer(active=not engine.current().ready)

    gr.on([demo.load, timer.tick], refresh, None, [chip, timer], **QUICK)


def _chip() -> str:
    return views.chip(engine.current().status())


def _inputs() -> dict[str, Any]:
    prompt = gr.Textbox(
        EXAMPLES["image"][0], label="Prompt", lines=2, max_length=PROMPT_LENGTH, elem_id="prompt"
    )
    with gr.Row():
        go = gr.Button("Run", variant="primary", min_width=120, elem_id="run")
        halt = gr.Button("Stop", variant="stop", interactive=False, min_width=120, elem_id="stop")
    preset = gr.Radio(list(PRESETS), value="Balanced", label="Preset", elem_id="preset")
    interval = gr.Slider(
        *APP.interval, Request.interval, step=1, label="Interval N", elem_id="interval",
        info="One step in N is computed in full. 1 computes all.",
    )  # fmt: skip
    with gr.Accordion("Advanced", open=False):
        base = gr.Dropdown(list(bases.names()), value=Request.base, label="Base strategy")
        weight = gr.Dropdown(list(weights.names()), value=Request.weight, label="Weight function")
        reflect = gr.Checkbox(
            Request.reflect, label="Reflect", info="Go back once the future is known."
        )
        steps = gr.Slider(*APP.steps, Request.steps, step=1, label="Steps", elem_id="steps")
        seed = gr.Number(Request.seed, label="Seed", precision=0, minimum=0, maximum=SEED_MAX)
        randomise = gr.Checkbox(False, label="New seed for each run")
    gr.Examples(
        [[example] for example in EXAMPLES["image"]], [prompt], label="Examples", api_visibility="private"
    )
    return {
        "prompt": prompt, "interval": interval, "base": base, "weight": weight, "reflect": reflect,
        "steps": steps, "seed": seed, "randomise": randomise, "preset": preset,
        "go": go, "halt": halt,
    }  # fmt: skip


def _outputs() -> dict[str, Any]:
    common = {
        "type": "filepath",
        "format": "png",
        "interactive": False,
        "buttons": ["download", "fullscreen"],
    }
    picture = partial(gr.Image, min_width=120, **common)
    figures = gr.HTML(views.waiting(), elem_id="figures", padding=False)
    first = picture(
        height=420, visible=False, alt_text="Picture made with Z-Cache", elem_id="first"
    )
    slider = gr.ImageSlider(
        label="Plain pipeline (left) | Z-Cache (right)",
        height=420,
        max_height=420,
        elem_id="slider",
        **common,
    )
    strip = gr.HTML(elem_id="strip", padding=False)
    with gr.Row(elem_id="pair"):
        left = picture(
            label="Plain pipeline", alt_text="Picture of the plain pipeline", elem_id="baseline"
        )
        right = picture(
            label="Z-Cache", alt_text="Picture made with Z-Cache", elem_id="accelerated"
        )
    with gr.Accordion("Report and files", open=False):
        report = gr.JSON(label="Report", show_label=False)
        files = gr.Files(label="Files", interactive=False)
    return {
        "figures": figures, "first": first, "slider": slider, "strip": strip,
        "baseline": left, "accelerated": right,
        "report": report, "files": files,
    }  # fmt: skip


def _wire(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    names = ("prompt", "interval", "base", "weight", "reflect", "steps", "seed")
    preset, interval, go, halt = (inputs[name] for name in ("preset", "interval", "go", "halt"))
    preset.input(lambda name: PRESETS[name], preset, interval, **QUICK)
    interval.input(_preset_of, interval, preset, **QUICK)
    buttons = [go, halt]
    started = gr.on(
        [go.click, inputs["prompt"].submit],
        _begin, [inputs["seed"], inputs["randomise"]], [inputs["seed"], *buttons], **QUICK,
    )  # fmt: skip
    running = started.then(
        _run_for_page,
        [inputs[name] for name in names],
        list(outputs.values()),
        show_progress_on=outputs["figures"],
        **PRIVATE,
        **ON_DEVICE,
    )
    running.success(_idle, None, buttons, **QUICK)
    running.failure(_failed, None, [*buttons, outputs["first"]], **QUICK)
    halt.click(_stop, None, None, **QUICK)


def _preset_of(interval: int) -> str | None:
    return next((name for name, value in PRESETS.items() if value == interval), None)


def _begin(seed: int, randomise: bool, request: gr.Request) -> tuple[Any, gr.Button, gr.Button]:
    device.announce(request.session_hash or "")
    drawn = random.randint(0, SEED_MAX) if randomise else seed
    return drawn, gr.Button(interactive=False), gr.Button(interactive=True)


def _idle() -> tuple[gr.Button, gr.Button]:
    return gr.Button(interactive=True), gr.Button(interactive=False)


def _failed() -> tuple[gr.Button, gr.Button, gr.Image]:
    return *_idle(), gr.Image(label=views.UNFINISHED)


def _stop(request: gr.Request) -> None:
    device.stop(request.session_hash or "")


def _run_for_page(
    prompt: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    seed: int,
    request: gr.Request,
) -> Iterator[tuple[Any, ...]]:
    """Yield the values of the outputs, in the order of `_outputs`."""
    for outcome in run.outcomes(
        request.session_hash or "",
        prompt=prompt, interval=interval, base=base, weight=weight, reflect=reflect,
        steps=steps, seed=seed,
    ):  # fmt: skip
        yield _shown(outcome)


def _shown(outcome: run.Outcome) -> tuple[Any, ...]:
    paths, report = outcome.paths, outcome.report
    if not outcome.done:
        first = gr.Image(paths["accelerated"], visible=True, label=views.HALFWAY)
        return (
            views.waiting(""),
            first,
            gr.ImageSlider(visible=False),
            "",
            None,
            paths["accelerated"],
            None,
            None,
        )
    return (
        views.cards(report),
        gr.Image(None, visible=False),
        gr.ImageSlider((paths["baseline"], paths["accelerated"]), visible=True),
        views.timeline(report["walk"]),
        paths["baseline"],
        paths["accelerated"],
        report,
        list(paths.values()),
    )
