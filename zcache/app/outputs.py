"""The right column of a tab: the three sides of a run, its figures, the steps and the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from . import drawings, result, views
from .outcome import Outcome

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
    shown: dict[str, Any] = {"figures": _html(views.waiting(kind), "zc-figures")}
    shown["progress"] = _html("", "zc-progress")
    shown["preview"] = _html("", "zc-steps")
    with gr.Row(elem_classes="zc-trio zc-clips" if kind == "video" else "zc-trio"):
        for side in result.SIDES:
            with gr.Column(min_width=90):
                shown[side] = _clip(side) if kind == "video" else _picture(side)
                shown[f"{side}_caption"] = _html("", "zc-caption")
    shown |= {name: _html("", "zc-steps") for name in ("overlay", "cards", "strip", "errors")}
    with gr.Accordion(
        "Where Z-Cache differs from the plain run", open=False, elem_classes="zc-more"
    ):
        shown["difference_caption"] = _html("", "zc-caption")
        shown["difference"] = gr.Image(
            show_label=False, label="Difference", alt_text="Heat map of the difference", **PICTURE
        )
    with gr.Accordion("Report and files", open=False, elem_classes="zc-more"):
        shown["report"] = gr.JSON(label="Report", show_label=False)
        shown["files"] = gr.Files(label="Files", interactive=False)
    return shown


def of_outcome(
    shown: dict[str, Any], outcome: Outcome, link: str = "", earlier: bool = False
) -> dict[Any, Any]:
    """Return the new values of the components `shown` for one stage of a run; `link` restores its
    settings, `earlier` says that it is from the store."""
    values = _finished(outcome, link, earlier) if outcome.done else _halfway(outcome)
    return _values(shown, values)


def cleared(shown: dict[str, Any], figures: str) -> dict[Any, Any]:
    """Return the new values of all components where only `figures` is to be seen."""
    return _values(shown, {"figures": figures})


def unfinished(shown: dict[str, Any], said: str) -> dict[Any, Any]:
    """Return what changes when a run ends early: the accelerated side may stand alone."""
    return {shown["preview"]: "", shown["figures"]: said}


def _values(shown: dict[str, Any], values: dict[str, Any]) -> dict[Any, Any]:
    empty = {name: "" if isinstance(part, gr.HTML) else None for name, part in shown.items()}
    return {component: (empty | values)[name] for name, component in shown.items()}


def _halfway(outcome: Outcome) -> dict[str, Any]:
    return {
        "figures": gr.skip(),
        "preview": gr.skip(),
        "accelerated": outcome.paths["accelerated"],
        "accelerated_caption": result.halfway(outcome.report),
    }


def _finished(outcome: Outcome, link: str, earlier: bool) -> dict[str, Any]:
    paths, report = outcome.paths, outcome.report
    both = Path(paths["baseline"]), Path(paths["accelerated"])
    return {
        "figures": result.headline(report, earlier) + views.link(link),
        **{side: paths.get(side) for side in result.SIDES},
        **{f"{side}_caption": result.caption(side, report) for side in result.SIDES},
        "overlay": result.overlay(*both) if both[0].suffix == ".png" else result.player(),
        "cards": views.cards(report),
        "strip": views.timeline(report["walk"]),
        "errors": drawings.error_chart(report),
        "difference": paths["difference"],
        "difference_caption": result.difference(report["largest_difference"]),
        "report": report,
        "files": list(paths.values()),
    }


def _html(value: str, style: str) -> gr.HTML:
    return gr.HTML(value, elem_classes=style, padding=False)


def _picture(side: str) -> gr.Image:
    return gr.Image(
        show_label=False, label=result.SIDES[side], alt_text=result.ALT[side], min_width=90,
        **PICTURE,
    )  # fmt: skip


def _clip(side: str) -> gr.Video:
    return gr.Video(show_label=False, label=result.SIDES[side], min_width=90, **CLIP)
