"""The tab that explains the method: the walk over the steps, pass by pass."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..method.config import ZCacheConfig
from . import drawings
from .tab import AS_TYPED, QUICK

STEPS, INTERVAL = 13, 4
INTERVALS = (2, 6)
BEAT = 0.8  # seconds between the passes of a played walk
WORDS = """
A diffusion transformer draws in many small steps, and neighbouring steps do almost the same work.
Z-Cache computes only some steps in full (**F**), at most N apart, and predicts what the steps between would
have computed (**f**). When the next full step is known, it goes back and redoes those steps with a blend
of the prediction from the past and the one that knows the future (**r**), which costs next to
nothing. Drawn over the steps, the way looks like a Z. Press *Play* or move *Pass* to follow it.
"""


def build() -> None:
    """Lay out and wire the tab."""
    gr.Markdown(WORDS)
    with gr.Row():
        interval = gr.Slider(
            *INTERVALS, INTERVAL, step=1, label="Interval N", elem_id="walk-interval"
        )
        reflect = gr.Checkbox(True, label="Go back (reflect)")
    first = picture(INTERVAL, True, 1)
    last = len(_passes(INTERVAL, True))
    with gr.Row():
        shown = gr.Slider(1, last, 1, step=1, label="Pass", elem_id="walk-pass", scale=5)
        play = gr.Button("Play", min_width=120)
    drawing = gr.HTML(first, elem_classes="zc-steps", padding=False)
    quick: dict[str, Any] = {**AS_TYPED, **QUICK}
    shown.change(picture, [interval, reflect, shown], drawing, trigger_mode="always_last", **quick)
    timer = gr.Timer(BEAT, active=False)
    play.click(_play, [play, interval, reflect, shown], [play, timer, shown], **quick)
    timer.tick(_next, [interval, reflect, shown], [play, timer, shown], **quick)
    gr.on([interval.change, reflect.change], _other, [interval, reflect], [shown, drawing], **quick)


def picture(interval: int, reflect: bool, shown: int) -> str:
    """Return the first `shown` passes of the example's walk."""
    passes = _passes(interval, reflect)
    return drawings.walk(passes, _within(shown, 1, len(passes)))


def _play(label: str, interval: int, reflect: bool, shown: int) -> tuple[Any, Any, int]:
    """Start the walk, from the beginning if it is at its end; or halt it."""
    if label == "Pause":
        return "Play", gr.Timer(active=False), shown
    last = len(_passes(interval, reflect))
    return "Pause", gr.Timer(active=True), _within(shown, 1, last) % last or 1


def _next(interval: int, reflect: bool, shown: int) -> tuple[Any, Any, int]:
    """Go one pass on; at the last one stop."""
    last = len(_passes(interval, reflect))
    following = min(_within(shown, 1, last) + 1, last)
    going = following < last
    return "Pause" if going else "Play", gr.Timer(active=going), following


def _other(interval: int, reflect: bool) -> tuple[Any, str]:
    last = len(_passes(interval, reflect))
    return gr.Slider(maximum=last, value=last), picture(interval, reflect, last)


def _passes(interval: int, reflect: bool) -> Any:
    return (
        ZCacheConfig(interval=_within(interval, *INTERVALS), reflect=bool(reflect)).plan(STEPS).walk
    )


def _within(typed: Any, low: int, high: int) -> int:
    """Return what was typed into a slider's box as the nearest number that it has."""
    return int(min(max(typed, low), high)) if isinstance(typed, int | float) else low
