"""Quality over speed, one curve per family of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...method import checks
from .canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "Z-Cache"


def is_result(value: Any) -> bool:
    """Whether it is what `bench` wrote, as far as `plot` reads it."""
    if not isinstance(value, dict) or not isinstance(value.get("methods"), list):
        return False
    if not {"device", "dtype"} <= set(value.get("environment") or ()):
        return False
    return bool(value["methods"]) and all(map(_is_row, value["methods"]))


def _is_row(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = [value.get(name) for name in ("psnr_mean", "speedup")]
    scored = isinstance(value.get("family"), str) and all(map(checks.is_number, numbers))
    return numbers[0] is None or scored


def plot(result: dict[str, Any]) -> Figure:
    """PSNR to the uncached output over the speedup, one curve per family of methods.

    Args:
        result: what `evaluation.bench.bench` returned, with quality.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, places = blank(8, 4.5)
    axes = places[0, 0]
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in result["methods"]:
        if row.get("psnr_mean") is not None:
            curves.setdefault(row["family"], []).append((row["speedup"], row["psnr_mean"]))
    axes.set_prop_cycle(color=_colours(len(curves)))
    for family, points in curves.items():
        ours = family.startswith(OURS)
        speeds, quality = zip(*sorted(points), strict=True)
        axes.plot(
            speeds,
            quality,
            marker="o",
            markersize=5 if ours else 3.5,
            linewidth=2.2 if ours else 1.0,
            linestyle="-" if ours else "--",
            label=family,
            zorder=3 if ours else 2,
        )
    marked = any(row.get("speedup_is") == "estimated" for row in result["methods"])
    how = "some of it estimated: see the table" if marked else "measured"
    axes.set_xlabel(f"speedup of the denoising loop, {how}")
    axes.set_ylabel("PSNR to the uncached output, dB")
    about = result["environment"]
    axes.set_title(f"{result.get('model', '')}, {about['device']}, {about['dtype']}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _colours(count: int) -> list[Any]:
    """As many colours as there are curves, no two alike up to twenty."""
    from matplotlib import colormaps

    palette = colormaps["tab10" if count <= 10 else "tab20"]
    return [palette(index % palette.N) for index in range(count)]
