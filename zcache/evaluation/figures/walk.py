"""The walk of Figure 3: every pass of a run in the order it is made, forth and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...method.schedule import Kind, Plan
from . import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {
    Kind.FULL: (canvas.PLAIN, "s", "full"),
    Kind.FORECAST: (canvas.BASE, "o", "forecast"),
    Kind.REFLECT: (canvas.OURS, "o", "reflected"),
}


def schedule(plan: Plan) -> Figure:
    """Draw the step of every pass of a plan over the passes in order: the zig-zag that Z-Cache is
    named for."""
    figure, axes = canvas.blank(max(6.0, 0.085 * len(plan.walk) + 2), 3.6)
    place = axes[0, 0]
    steps = [each.step for each in plan.walk]
    place.plot(range(len(steps)), steps, color="#bbbbbb", linewidth=0.8, zorder=1)
    for kind, (colour, marker, name) in LOOKS.items():
        found = [(n, each.step) for n, each in enumerate(plan.walk) if each.kind is kind]
        if found:
            label = f"{name}: {len(found)}"
            place.scatter(
                *zip(*found, strict=True), s=14, color=colour, marker=marker, label=label, zorder=2
            )
    place.set(xlabel="pass", ylabel="step")
    place.set_title(f"{plan.num_steps} steps, {len(plan.full_steps)} of them full", fontsize=9)
    place.grid(alpha=0.2)
    place.legend(fontsize=8)
    return figure
