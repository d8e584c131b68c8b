"""The tab that explains the method: the walk over the steps, pass by pass."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..config import ZCacheConfig
from . import drawings
from .tab import QUICK

STEPS, INTERVAL = 13, 4
WORDS = """
A diffusion transformer draws in many small steps, and neighbouring steps do almost the same work.
Z-Cache computes only every N-th step in full (**F**) and predicts what the steps between would have
computed (**f**). When the next full step is known, it goes back and redoes those steps with a blend
of the prediction from the past and the one that knows the future (**r**), which costs next to
nothing. Drawn over the steps, the way looks like a Z. Move *Pass* to follow it.
"""


def build() -> None:
    """Lay out and wire the tab."""
    gr.Markdown(WORDS)
    with gr.Row():
        interval = gr.Slider(2, 6, INTERVAL, step=1, label="Interval N", elem_id="walk-interval")
        reflect = gr.Checkbox(True, label="Go back (reflect)")
    first = picture(INTERVAL, True, 1)
    last = len(_passes(INTERVAL, True))
    shown = gr.Slider(1, last, 1, step=1, label="Pass", elem_id="walk-pass")
    drawing = gr.HTML(first, elem_classes="zc-steps", padding=False)
    shown.change(picture, [interval, reflect, shown], drawing, trigger_mode="always_last", **QUICK)
    gr.on([interval.change, reflect.change], _other, [interval, reflect], [shown, drawing], **QUICK)


def picture(interval: int, reflect: bool, shown: int) -> str:
    """Return the first `shown` passes of the example's walk."""
    return drawings.walk(_passes(interval, reflect), int(shown))


def _other(interval: int, reflect: bool) -> tuple[Any, str]:
    last = len(_passes(interval, reflect))
    return gr.Slider(maximum=last, value=last), picture(interval, reflect, last)


def _passes(interval: int, reflect: bool) -> Any:
    return ZCacheConfig(interval=int(interval), reflect=bool(reflect)).plan(STEPS).walk
