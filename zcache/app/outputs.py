"""The right column of a tab: the two sides, the figures, the steps and the files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from . import drawings, views
from .runs import Outcome

HEIGHT = 420  # pixels
ALT = {"Plain pipeline": "Picture of the plain pipeline", "Z-Cache": "Picture made with Z-Cache"}
PICTURE: dict[str, Any] = {
    "type": "filepath",
    "format": "png",
    "interactive": False,
    "buttons": ["download", "fullscreen"],
}
CLIP: dict[str, Any] = {
    "format": "mp4",
    "interactive": False,
    "autoplay": True,
    "loop": True,
    "buttons": ["download"],
}


def build(kind: str) -> dict[str, Any]:
    """Lay out what a run of a kind of model shows; return the components by name."""
    shown: dict[str, Any] = {
        "figures": gr.HTML(views.waiting(kind), elem_classes="zc-figures", padding=False)
    }
    shown["preview"] = gr.HTML(elem_classes="zc-steps", padding=False)
    if kind == "video":
        shown |= _pair(_clip, "zc-pair zc-clips") | _steps()
    else:
        shown |= _overlay() | _steps() | _pair(_picture, "zc-pair zc-pictures")
    with gr.Accordion("Where they differ", open=False):
        shown["difference"] = gr.Image(
            label="Difference", alt_text="Heat map of the difference", **PICTURE
        )
    with gr.Accordion("Report and files", open=False):
        shown["report"] = gr.JSON(label="Report", show_label=False)
        shown["files"] = gr.Files(label="Files", interactive=False)
    return shown


def of_outcome(shown: dict[str, Any], outcome: Outcome, link: str = "") -> dict[Any, Any]:
    """Return the new values of the components `shown` for one stage of a run; `link` restores its
    settings."""
    values = _finished(outcome, link) if outcome.done else _halfway(outcome)
    return {component: values[name] for name, component in shown.items()}


def unfinished(shown: dict[str, Any]) -> dict[Any, Any]:
    """Return what changes when a run ends early: the accelerated side may stand alone."""
    label = {shown["first"]: gr.Image(label=views.UNFINISHED)} if "first" in shown else {}
    return {shown["preview"]: "", **label}


def _overlay() -> dict[str, Any]:
    first = gr.Image(
        height=HEIGHT, visible=False, alt_text=ALT["Z-Cache"],
        elem_classes="zc-first", **PICTURE,
    )  # fmt: skip
    slider = gr.ImageSlider(
        label="Plain pipeline (left) | Z-Cache (right)",
        height=HEIGHT,
        max_height=HEIGHT,
        elem_classes="zc-slider",
        **PICTURE,
    )
    return {"first": first, "slider": slider}


def _pair(side: Callable[[str], Any], style: str) -> dict[str, Any]:
    with gr.Row(elem_classes=style):
        baseline, accelerated = map(side, ALT)
    return {"baseline": baseline, "accelerated": accelerated}


def _picture(label: str) -> gr.Image:
    return gr.Image(label=label, alt_text=ALT[label], min_width=120, **PICTURE)


def _clip(label: str) -> gr.Video:
    return gr.Video(label=label, min_width=120, **CLIP)


def _steps() -> dict[str, Any]:
    names = ("strip", "errors")
    return {name: gr.HTML(elem_classes="zc-steps", padding=False) for name in names}


def _halfway(outcome: Outcome) -> dict[str, Any]:
    accelerated = outcome.paths["accelerated"]
    return {
        "figures": views.note(""),
        "preview": gr.skip(),
        "first": gr.Image(accelerated, visible=True, label=views.HALFWAY),
        "slider": gr.ImageSlider(visible=False),
        "strip": "",
        "errors": "",
        "difference": None,
        "baseline": None,
        "accelerated": accelerated,
        "report": None,
        "files": None,
    }


def _finished(outcome: Outcome, link: str) -> dict[str, Any]:
    paths, report = outcome.paths, outcome.report
    sides = paths["baseline"], paths["accelerated"]
    return {
        "figures": views.cards(report) + views.link(link),
        "preview": "",
        "first": gr.Image(None, visible=False),
        "slider": gr.ImageSlider(sides, visible=True),
        "strip": views.timeline(report["walk"]),
        "errors": drawings.error_chart(report),
        "difference": gr.Image(
            paths["difference"], label=f"Brightest: {report['largest_difference']} of 255"
        ),
        "baseline": sides[0],
        "accelerated": sides[1],
        "report": report,
        "files": list(paths.values()),
    }
