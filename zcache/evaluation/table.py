"""Every sample's scores as one result, and the result as the paper's table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ..measure.metrics import interval95
from . import printed
from .methods import UNCACHED
from .store import Store

# Column: how it is written, what it is called.
COLUMNS = {
    "latency": ("{:.2f}", "latency, s"),
    "speed": ("{:.2f}×", "speedup"),
    "tflops": ("{:.4g}", "TFLOPs"),
    "flops_speedup": ("{:.2f}×", "FLOPs speedup"),
    "full_passes": ("{:.3g}", "full passes"),
    "psnr": ("{:.2f}", "PSNR ↑"),
    "ssim": ("{:.4f}", "SSIM ↑"),
    "psnr_worst_frame": ("{:.2f}", "PSNR, worst frame ↑"),
    "ssim_worst_frame": ("{:.4f}", "SSIM, worst frame ↑"),
    "lpips": ("{:.4f}", "LPIPS ↓"),
    "fid": ("{:.2f}", "FID ↓"),
    "sfid": ("{:.2f}", "sFID ↓"),
    "is": ("{:.2f}", "Inception Score ↑"),
    "clipscore": ("{:.2f}", "CLIPScore ↑"),
    "imagereward": ("{:.3f}", "ImageReward ↑"),
    "vbench": ("{:.2f}", "VBench ↑"),
    "obeyed": ("{:.1%}", "obeyed ↑"),
    "still_obeyed": ("{:.1%}", "of those obeyed uncached ↑"),
    "temporal_consistency": ("{:.4f}", "temporal consistency ↑"),
    "temporal_drift": ("{:.3f}", "temporal drift ↓"),
}


def gather(
    store: Store,
    names: Sequence[str],
    count: int,
    settings: dict[str, Any],
    of_sets: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """All results as plain values; nothing in them depends on the clock or on who drew what.

    Args:
        of_sets: scores of whole sets by method.
    """
    plain = [store.done(UNCACHED, index) for index in range(count)]
    whole = (store.cost(UNCACHED) or {}).get("flops")
    rows = []
    for name in names:
        cost = store.cost(name) or {}
        if "error" in cost:
            rows.append({"method": name, "error": cost["error"]})
            continue
        records = [store.done(name, index) for index in range(count)]
        row = {"method": name, **_means(records), **of_sets.get(name, {})}
        row |= _kept(plain, records)
        if "full_passes" in records[0]:
            row["full_passes"] = statistics.mean(record["full_passes"] for record in records)
        if cost.get("flops") and whole:
            row |= {"tflops": cost["flops"] / 1e12, "flops_speedup": whole / cost["flops"]}
        rows.append(row)
    return {"settings": settings, "count": count, "methods": rows}


def latencies(store: Store, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Median seconds of the denoising loop for each sample, and the speedup over the uncached."""
    medians = {name: statistics.median(s) for name in names if (s := store.seconds(name))}
    plain = medians.get(UNCACHED)
    return {
        name: {"latency": seconds, **({"speed": plain / seconds} if plain else {})}
        for name, seconds in medians.items()
    }


def _means(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every score, and half its 95 % interval as `<score>_interval`."""
    found: dict[str, Any] = {}
    common = set.intersection(*(set(record["scores"]) for record in records))
    for score in sorted(common):
        values = [record["scores"][score] for record in records]
        found[score] = statistics.mean(values)
        half = interval95(values)
        found[f"{score}_interval"] = None if math.isnan(half) else half
    return found


def _kept(plain: list[dict[str, Any]], records: list[dict[str, Any]]) -> dict[str, float]:
    """The share of what the uncached run obeyed that is still obeyed."""
    if "obeyed" not in records[0]["scores"]:
        return {}
    still = [
        record["scores"]["obeyed"]
        for before, record in zip(plain, records, strict=True)
        if before["scores"]["obeyed"]
    ]
    return {"still_obeyed": statistics.mean(still)} if still else {}


def table(result: dict[str, Any], timings: dict[str, dict[str, float]]) -> str:
    """Markdown: our figures with half their 95 % interval, the paper's beside them in brackets, and at
    the end the paper's rows that were not run."""
    theirs_all = printed.rows(result["settings"]["model"])
    known = {row.method: row for row in theirs_all}
    rows = [{**row, **timings.get(row["method"], {})} for row in result["methods"]]
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    lines = [
        f"| method | {' | '.join(COLUMNS[c][1] for c in columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for row in rows:
        theirs = known.pop(row["method"], None)
        title = f"`{row['method']}`" + (f" ({theirs.title})" if theirs else "")
        values = theirs.values if theirs else {}
        cells = [_cell(c, row, values.get(c)) for c in columns]
        if "error" in row:
            cells[0] = row["error"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for other in theirs_all:
        if other.method in known:
            cells = [_cell(c, {}, other.values.get(c)) for c in columns]
            lines.append(f"| {other.title}, not run | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(column: str, row: dict[str, Any], printed: float | None) -> str:
    form = COLUMNS[column][0]
    parts = []
    if column in row:
        half = row.get(f"{column}_interval")
        parts.append(form.format(row[column]) + (f" ± {form.format(half)}" if half else ""))
    if printed is not None:
        parts.append(f"(paper {printed:g})")
    return " ".join(parts)
