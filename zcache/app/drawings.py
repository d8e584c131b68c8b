"""Small pictures as inline SVG: the error of a run, a weight function, the walk over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..method import bases
from ..method.schedule import Kind, Pass
from ..method.weights import WeightFunction, weight_at
from .templating import html

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 12, 26  # room for the axes
STRIDE, MARGIN = 28, 14  # between the steps of a walk, and beside them
MEANING = {
    Kind.FULL: "computed in full: the whole network runs, and what it added is remembered.",
    Kind.FORECAST: "predicted: what the network would have added is guessed from the full steps so "
    "far, so almost nothing runs.",
    Kind.REFLECT: "redone: the next full step is known by now, so the guess becomes a blend of past "
    "and future. Almost nothing runs here either.",
}
TONE = {Kind.FULL: "full", Kind.FORECAST: "forecast", Kind.REFLECT: "reflect"}


def error_chart(report: dict[str, Any]) -> str:
    """Return how far each step of a run was from the plain one, with and without reflection."""
    lines = [("Z-Cache", "ours", report.get("errors") or [])]
    alone = (report.get("base_alone") or {}).get("errors")
    if alone:
        lines.append((f"{bases.named(report['config']['base'])} alone", "alone", alone))
    top = max((error for _, _, errors in lines for error in errors), default=0.0)
    if not top:
        return ""
    steps = len(lines[0][2])
    marks = [
        (f"{_x(step, steps - 1):.1f}", f"{_y(lines[0][2][step], top):.1f}")
        for step in report["full_steps"]
        if step < steps
    ]
    return html(
        "error_chart",
        ends=", ".join(f"{name} ends at {errors[-1]:.1%}" for name, _, errors in lines),
        frame=_frame(steps - 1, top, "step"),
        lines=[(name, style, _points(errors, steps - 1, top)) for name, style, errors in lines],
        marks=marks,
    )


def weight_curve(name: str, weight: WeightFunction, interval: int) -> str:
    """Return the weight of the newer full step along one window, as a curve under its name."""
    last = max(2, interval)
    values = [weight_at(weight, j, 0, last) for j in range(1, last + 1)]
    marks = [(f"{_x(j, last):.1f}", f"{_y(value, 1.0):.1f}") for j, value in enumerate(values, 1)]
    return html(
        "weight_curve",
        caption=f"Trust in the newer full step along a window of {last} steps: {name}",
        frame=_frame(last, 1.0, "step of the window"),
        spots=" ".join(f"{x},{y}" for x, y in marks),
        marks=marks,
    )


def walk(passes: Sequence[Pass], shown: int) -> str:
    """Return the first `shown` passes of a walk as a path over the steps, the last of them in words;
    those to come are faint."""
    shown = min(max(1, shown), len(passes))
    steps = max(p.step for p in passes)
    rows = _rows(passes)
    width, height = 2 * MARGIN + STRIDE * steps, TOP + BOTTOM + 26 * (max(rows) + 1)
    spots = [
        (MARGIN + STRIDE * p.step, TOP + 13 + 26 * row) for p, row in zip(passes, rows, strict=True)
    ]
    now = passes[shown - 1]
    told = f"Pass {shown} of {len(passes)}. Step {now.step} is {MEANING[now.kind]}"
    if now.kind is Kind.REFLECT:
        told += f" The newer full step counts {now.weight:.0%} here."
    return html(
        "walk",
        width=width,
        height=height,
        told=told,
        path=" ".join(f"{x},{y}" for x, y in spots[:shown]),
        cells=[
            (TONE[p.kind] + _moment(i, shown - 1), x, y, p.kind.value)
            for i, (p, (x, y)) in enumerate(zip(passes, spots, strict=True))
        ],
        ticks=[(MARGIN + STRIDE * step, step) for step in range(steps + 1)],
        full=sum(p.kind is Kind.FULL for p in passes[:shown]),
    )


def _moment(index: int, now: int) -> str:
    if index == now:
        return " zc-now"
    return " zc-to-come" if index > now else ""


def _rows(passes: Iterable[Pass]) -> list[int]:
    """Return the row of each pass: one lower with every way back, so that no two overlap."""
    rows, row, before = [], 0, -1
    for p in passes:
        row += p.step <= before
        rows.append(row)
        before = p.step
    return rows


def _x(step: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, last)


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _points(values: Sequence[float], last: float, top: float) -> str:
    return " ".join(f"{_x(i, last):.1f},{_y(v, top):.1f}" for i, v in enumerate(values))


def _frame(last: int, top: float, what: str) -> dict[str, Any]:
    """Return the size of a chart and its axes: `last` to the right, `top` upwards."""
    stride = max(1, math.ceil(last / 10))
    heights = [(_y(value, top), _percent(value)) for value in (0, top / 2, top)]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "title": what,
        "across": [(f"{_x(step, last):.1f}", step) for step in range(0, last + 1, stride)],
        "up": [(f"{y:.1f}", f"{y + 4:.1f}", text) for y, text in heights],
        "foot": HEIGHT - 10,
        "side": LEFT - 6,
        "left": LEFT,
        "right": WIDTH - RIGHT,
    }


def _percent(value: float) -> str:
    return f"{value:.0%}" if value in (0, 1) or value >= 0.2 else f"{value:.1%}"
