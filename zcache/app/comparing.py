"""The tab that runs one prompt over several settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..models.examples import EXAMPLES
from ..models.request import APP, PROMPT_LENGTH, Request
from . import device, engine, sweeps, views
from .endpoints import ON_DEVICE
from .errors import sentence_of, was_stopped
from .result import SHOWN
from .tab import AS_TYPED, FOCUS, PRIVATE, QUICK, REVEAL
from .visitors import visitor
from .words import cut

CHOICES = {"Intervals": "interval", "Base strategies": "base", "Weight functions": "weight"}
WORDS = """
One prompt, one seed, several settings: what each costs and how close it stays. PSNR, in decibels, and SSIM, at most
1, say how near a picture is to the plain one; ≈ marks what is estimated. A clip shows its middle. Of several
base strategies or weight functions the same is cached, the stack of blocks; "automatic" is what runs when nothing is
chosen. Settings that turn out to be the same run share a row.
"""
COLUMNS = 4
# By the width of the screen, and whether it is dark.
BY_SCREEN = f"() => [innerWidth <= 560 ? 2 : {COLUMNS}, document.body.classList.contains('dark')]"


def build() -> gr.Dropdown:
    """Lay out and wire the tab; return the list of classes, which may be empty until their model is loaded."""
    gr.Markdown(WORDS)
    with gr.Row(equal_height=False, elem_classes="zc-tab"):
        with gr.Column(scale=2, min_width=300):
            kind = gr.Radio(
                [(name.capitalize(), name) for name in engine.EMBEDDED],
                value="image",
                label="Model",
            )
            prompt = gr.Textbox(
                EXAMPLES["image"][0], label="Prompt to compare", lines=2, max_length=PROMPT_LENGTH
            )
            names = engine.of("class").labels()
            label = gr.Dropdown(
                names, value=names[0] if names else None, label="Class to compare", visible=False
            )
            over = gr.Radio(list(CHOICES), value="Intervals", label="Compare")
            interval = gr.Slider(
                *APP.interval, Request.interval, step=1, label="Interval N of the strategies",
                visible=False,
            )  # fmt: skip
            steps = gr.Slider(
                *APP.steps, Request.steps, step=1, label="Steps of each", elem_id="sweep-steps"
            )
            with gr.Row(elem_classes="zc-buttons"):
                go = gr.Button("Compare all", variant="primary", min_width=120, elem_id="sweep-run")
                halt = gr.Button(
                    "Stop", variant="stop", interactive=False, min_width=120, elem_id="sweep-stop"
                )
        with gr.Column(scale=3, min_width=300):
            progress = gr.HTML(elem_classes="zc-progress", padding=False)
            figures = gr.HTML(
                views.note("Press Compare all: every row is one setting beside the plain run."),
                elem_classes="zc-figures",
                padding=False,
            )
            columns = gr.Number(COLUMNS, visible=False)  # of the sheet, and whether it is dark
            dark = gr.Checkbox(False, visible=False)
            sheet = gr.Image(
                label="Contact sheet", show_label=False, type="filepath", format="png", interactive=False,
                alt_text="The plain picture and each variant, captioned with its figures",
                buttons=["download", "fullscreen"],
            )  # fmt: skip
    kind.change(_subject, kind, [prompt, label], **QUICK)
    over.change(lambda chosen: gr.Slider(visible=chosen != "Intervals"), over, interval, **QUICK)

    def begin(columns: int, dark: bool, request: gr.Request) -> tuple[Any, ...]:
        device.announce(_name(request))
        return gr.Button(interactive=False), gr.Button(interactive=True), columns, dark

    def compare(
        kind: str, prompt: str, label: str, over: str, interval: int, steps: int,
        columns: int, dark: bool, request: gr.Request,
    ) -> Iterator[tuple[str, str | None]]:  # fmt: skip
        subject = label if kind == "class" else prompt
        swept = sweeps.sweep(
            kind, subject, CHOICES.get(over, over), _name(request), visitor(request),
            interval=interval, steps=steps,
            look=sweeps.Look(2 if columns == 2 else COLUMNS, dark is True),
        )  # fmt: skip
        named = f"{over.lower()} of “{cut(str(subject), SHOWN)}”"
        title = f"{named[:1].upper()}{named[1:]}, {_others(kind, over, interval, steps)}"
        table = ""
        yield views.running(named), None
        try:
            for rows, path, done, of in swept:
                table = views.table(rows, title) if rows else ""
                now = views.running(f"{named}: {min(done + 1, of)} of {of}")
                yield table if path else now + table, path or None
        except gr.Error as error:
            ended = views.stopped(named) if was_stopped(error) else views.failed(sentence_of(error))
            yield ended + table, None

    def idle() -> tuple[Any, ...]:
        return gr.Button(interactive=True), gr.Button(interactive=False)

    go.click(None, js=REVEAL, **QUICK)
    screen = [columns, dark]
    started = go.click(begin, screen, [go, halt, *screen], js=BY_SCREEN, **QUICK)
    inputs = [kind, prompt, label, over, interval, steps, *screen]
    started.success(None, js=FOCUS("sweep-stop"), **QUICK)
    running = started.then(
        compare,
        inputs,
        [figures, sheet],
        show_progress_on=progress,
        **AS_TYPED,
        **PRIVATE,
        **ON_DEVICE,
    )
    running.success(None, js=REVEAL, **QUICK)
    for ended in (running.success, running.failure):
        rested = ended(idle, None, [go, halt], **QUICK)
        rested.success(None, js=FOCUS("sweep-run"), **QUICK)
    halt.click(_stop, None, None, **QUICK)
    return label


def _subject(kind: str) -> tuple[Any, Any]:
    """Show what the chosen model is asked with, and begin to load it."""
    engine.of(kind).start()
    prompt: dict[str, Any] = {"value": EXAMPLES[kind][0]} if kind in EXAMPLES else {}
    return gr.Textbox(visible=kind != "class", **prompt), gr.Dropdown(visible=kind == "class")


def _others(kind: str, over: str, interval: int, steps: int) -> str:
    """Return what is the same in all rows of a comparison."""
    parts = [engine.of(kind).model.title, f"{steps} steps", f"seed {Request.seed}"]
    return ", ".join(parts if over == "Intervals" else [*parts, f"N = {interval}"])


def _stop(request: gr.Request) -> None:
    device.stop(_name(request))


def _name(request: gr.Request) -> str:
    return f"{request.session_hash}/sweep"
