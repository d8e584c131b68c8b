"""One tab: inputs on the left, outputs on the right, and what happens between them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..models.request import SEED_MAX, Request
from . import device, engine, forecast, inputs, links, outputs, result, runs, views
from .endpoints import ON_DEVICE
from .errors import sentence_of, was_stopped
from .visitors import visitor

PLANNED = ("tuned", "interval", "base", "weight", "reflect", "steps", "frames")
LOOK_SECONDS = 0.4
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUICK: dict[str, Any] = {**PRIVATE, "queue": False, "show_progress": "hidden"}
# A slider raises at a number that it cannot show; as it was typed, it is refused in words.
AS_TYPED: dict[str, Any] = {"preprocess": False}
# On a phone what a button starts is below the screen.
REVEAL = """() => {
  const figures = [...document.querySelectorAll(".zc-figures")].find((box) => box.offsetParent);
  if (figures && figures.getBoundingClientRect().top > innerHeight / 2)
    figures.scrollIntoView({ behavior: "smooth" });
}"""

# Whether a prompt is being written, or was set by an example, a link or a visitor who went on.
TYPING = "(prompt) => [prompt, document.activeElement?.tagName === 'TEXTAREA']"

# A button that is disabled loses the focus to the page; its neighbour takes it, once it is enabled.
FOCUS = """() => {{
  setTimeout(() => {{
    const at = document.activeElement;
    if (!at || at === document.body || at.disabled)
      document.getElementById("{}")?.focus({{ preventScroll: true }});
  }}, 100);
}}""".format


def build(
    demo: gr.Blocks, kind: str, status: str
) -> tuple[dict[str, Any], dict[str, Any], gr.HTML]:
    """Lay out and wire the tab of a kind of model; return its settings and what it shows, by name, and
    the line that tells the `status` of the model."""
    with gr.Row(equal_height=False, elem_classes="zc-tab"):
        with gr.Column(scale=2, min_width=300):
            given = inputs.build(kind)
            chip = gr.HTML(status, elem_classes="zc-status", padding=False)
        with gr.Column(scale=3, min_width=300):
            shown = outputs.build(kind)
    settings = {name: part for name, part in given.items() if name in Request.__dataclass_fields__}
    _wire_presets(kind, given)
    if "prompt" in given:
        _wire_world(demo, kind, given)
    _wire_plan(demo, kind, given, settings, shown["report"])
    _wire_runs(kind, given, settings, shown)
    return settings, shown, chip


def _wire_presets(kind: str, given: dict[str, Any]) -> None:
    if "tuned" in given:

        def settle(tuned: int) -> dict[Any, Any]:
            changes = inputs.settled(kind, tuned)
            return {given[name]: gr.update(**change) for name, change in changes.items()}

        parts = [given[name] for name in inputs.settled(kind, 0)]
        given["tuned"].change(settle, given["tuned"], parts, **QUICK)
        return
    preset, interval = given["preset"], given["interval"]
    preset.input(lambda name: inputs.PRESETS[name], preset, interval, **QUICK)
    interval.change(inputs.preset_of, interval, preset, **AS_TYPED, **QUICK)


def _wire_world(demo: gr.Blocks, kind: str, given: dict[str, Any]) -> None:
    """Say before a run whether the prompt is outside what the model was taught."""

    def tell(prompt: str, typing: bool) -> str:
        return views.outside(engine.of(kind).model, prompt or "", typing)

    gr.on(
        [given["prompt"].change, given["prompt"].blur, demo.load], tell,
        [given["prompt"], gr.Checkbox(False, visible=False)], given["world"],
        js=TYPING, trigger_mode="always_last", **QUICK,
    )  # fmt: skip


def _wire_plan(
    demo: gr.Blocks, kind: str, given: dict[str, Any], settings: dict[str, Any], finished: gr.JSON
) -> None:
    """Say what a run would do, on load, when a setting that matters changes, and when one `finished`."""
    planned = {name: part for name, part in settings.items() if name in PLANNED}

    def tell(*values: Any) -> tuple[str, str]:
        chosen = dict(zip(planned, values, strict=True))
        return views.plan(forecast.line(kind, chosen)), forecast.curve(kind, chosen)

    gr.on(
        [*(part.change for part in planned.values()), demo.load, finished.change],
        tell,
        list(planned.values()),
        [given["cost"], given["curve"]],
        trigger_mode="always_last",
        **AS_TYPED,
        **QUICK,
    )


def _wire_runs(
    kind: str, given: dict[str, Any], settings: dict[str, Any], shown: dict[str, Any]
) -> None:
    go, halt = given["go"], given["halt"]
    timer = gr.Timer(LOOK_SECONDS, active=False)

    def begin(seed: int | None, randomise: bool, request: gr.Request) -> dict[Any, Any]:
        device.announce(_name(kind, request))
        return {
            given["seed"]: random.randint(0, SEED_MAX) if randomise else seed,
            go: gr.Button(interactive=False),
            halt: gr.Button(interactive=True),
            timer: gr.Timer(active=True),
            **outputs.cleared(shown, views.running("…")),
        }

    def look(request: gr.Request) -> str:
        return views.preview(device.seen(_name(kind, request)))

    def compare(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        asked = {name: values[part] for name, part in settings.items()}
        named = result.asked_for(asked)
        yield {shown["figures"]: views.running(named)}
        try:
            name = _name(kind, request)
            for outcome in runs.outcomes(kind, name, visitor(request), watched=True, **asked):
                link = links.address(kind, asked) if outcome.done else ""
                yield outputs.of_outcome(shown, outcome, link)
        except gr.Error as error:
            ended = views.stopped(named) if was_stopped(error) else views.failed(sentence_of(error))
            yield outputs.unfinished(shown, ended)

    def stop(request: gr.Request) -> None:
        device.stop(_name(kind, request))

    def idle() -> dict[Any, Any]:
        return {
            go: gr.Button(interactive=True),
            halt: gr.Button(interactive=False),
            timer: gr.Timer(active=False),
            shown["preview"]: "",  # which the last look may have brought after the end
        }

    if "prompt" in given:  # a click, so that nothing happens while Run is disabled
        given["prompt"].submit(
            None, js=f"() => {{ document.getElementById('{kind}-run').click(); }}", **QUICK
        )
    go.click(None, js=REVEAL, **QUICK)
    started = go.click(
        begin,
        [given["seed"], given["randomise"]],
        [given["seed"], go, halt, timer, *shown.values()],
        **QUICK,
    )
    started.success(None, js=FOCUS(f"{kind}-stop"), **QUICK)
    running = started.then(
        compare,
        set(settings.values()),
        list(shown.values()),
        show_progress_on=shown["progress"],
        **AS_TYPED,
        **PRIVATE,
        **ON_DEVICE,
    )
    running.success(None, js=REVEAL, **QUICK)
    for ended in (running.success, running.failure):
        rested = ended(idle, None, [go, halt, timer, shown["preview"]], **QUICK)
        rested.success(None, js=FOCUS(f"{kind}-run"), **QUICK)
    timer.tick(look, None, shown["preview"], **QUICK)
    halt.click(stop, None, None, **QUICK)


def _name(kind: str, request: gr.Request) -> str:
    """Return the name of a visitor's run: one in each tab can be stopped."""
    return f"{request.session_hash}/{kind}"
