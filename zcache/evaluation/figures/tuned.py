"""A profile's speed and quality on held-out prompts, as a table and a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...method.profile import Profile
from .canvas import OURS, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(profile: Profile) -> str:
    """Markdown: a row for each number of full steps, most first."""
    lines = [
        "| full steps | FLOPs | loop | PSNR, dB | SSIM | weight | relax | order |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in sorted(profile.figures, reverse=True):
        row, config = profile.figures[count], profile.budgets[count]
        psnr, ssim = (
            _with_interval(row[name], row[f"{name}_interval"], digits)
            for name, digits in (("psnr", 1), ("ssim", 4))
        )
        lines.append(
            f"| {count} | {row['flops_speedup']:.2f}× | {row['speedup']:.2f}× | {psnr} | {ssim} | "
            f"{config.weight} | {config.relax} | {config.order} |"
        )
    return "\n".join(lines)


def plot(profile: Profile) -> Figure:
    """PSNR on held-out prompts over the FLOPs speedup, with 95 % intervals.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, places = blank(6, 4)
    axes = places[0, 0]
    rows = [profile.figures[count] for count in sorted(profile.figures)]
    axes.errorbar(
        [row["flops_speedup"] for row in rows],
        [row["psnr"] for row in rows],
        [row["psnr_interval"] or 0.0 for row in rows],
        color=OURS,
        marker="o",
        markersize=4,
        capsize=2,
    )
    for count, row in zip(sorted(profile.figures), rows, strict=True):
        axes.annotate(
            str(count), (row["flops_speedup"], row["psnr"]), (4, 4), textcoords="offset points"
        )
    axes.set_xlabel("times fewer FLOPs (labels: full steps)")
    axes.set_ylabel("PSNR to the uncached output, dB")
    axes.set_title(f"{profile.model}, {profile.scheduler}\nheld-out prompts", fontsize=9)
    axes.grid(alpha=0.3)
    return figure


def _with_interval(value: float | None, half: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")
