"""The figures of a run as HTML: status chip, cards, step strip. The
templates escape every value."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..measure import timing, verdict
from ..models.catalogue import Model
from ..models.mini import world
from .templating import html
from .words import cut

LARGE = {"image": "FLUX.1-dev", "video": "HunyuanVideo"}
WORDS_SHOWN, WORD = 6, 24  # words, and characters of one
LAST_WORD = re.compile(r"[^\W_]+$")
MEANINGS = {"F": "computed in full", "f": "predicted", "r": "redone once the next F is known"}
TONES = {"F": "full", "f": "forecast", "r": "reflect"}
PASS = re.compile(r"(\d+)([Ffr])")
HEADS = ("setting", "cached", "full steps", "seconds", "faster", "fewer FLOPs", "PSNR", "SSIM")
PREVIEWED = {"baseline": "Plain", "alone": "Base alone", "accelerated": "Z-Cache"}


def chip(status: dict[str, str]) -> str:
    """Return the line that names model, device and state, and why it is this model."""
    head = " · ".join(status[key] for key in ("title", "device", "state"))
    note = " ".join(status[key] for key in ("note", "knows", "terms") if status[key])
    return html("chip", head=head, note=note)


def note(text: str, failed: bool = False) -> str:
    """Return a line that stands where the figures will be."""
    return html("note", text=text, failed=failed)


def preview(pictures: dict[str, bytes]) -> str:
    """Return small PNG pictures of the sides of a run in progress; "" without any."""
    shown = [
        (side, name, base64.b64encode(pictures[side]).decode("ascii"))
        for side, name in PREVIEWED.items()
        if side in pictures
    ]
    return html("preview", pictures=shown)


def plan(line: str) -> str:
    """Return the line that says what a run will do."""
    return html("plan", line=line)


def outside(model: Model, prompt: str, typing: bool = False) -> str:
    """Return what is said before a run of a prompt that the model was not taught; "" of any other.

    While its visitor is `typing`, the last word may be half of one, and a subject may still come.
    """
    words = world.outside(model.name, LAST_WORD.sub("", prompt) if typing else prompt)
    if typing:
        words = [word for word in words if word not in world.TAUGHT[model.name]]
    if not words:
        return ""
    return html(
        "outside",
        words=[cut(word, WORD) for word in words[:WORDS_SHOWN]],
        name=model.name,
        knows=model.knows,
        large=LARGE[model.kind],
    )


def ignored(line: str) -> str:
    """Return the line that says what of a link is not to be had; "" without one."""
    return html("ignored", line=line)


def link(address: str) -> str:
    """Return a link that restores the settings of a run; "" without an address."""
    return html("link", address=address)


def waiting(kind: str) -> str:
    """Return what to do for a first run of a kind of model."""
    first = "Choose a class" if kind == "class" else "Write a prompt"
    what = "clip" if kind == "video" else "picture"
    return note(
        f"{first} and press Run. The same {what} is made three times from the same seed: by Z-Cache, "
        "plainly, and by the base strategy alone."
    )


def running(name: str) -> str:
    """Return what stands where the figures will be while a run of this name goes on."""
    return note(f"Running {name}")


def stopped(name: str) -> str:
    """Return what is said of a run that its visitor stopped."""
    return note(f"Stopped: {name}. Press Run to start again.")


def failed(sentence: str) -> str:
    """Return why a run did not finish."""
    return note(f"No result. {sentence.rstrip('.')}.", failed=True)


def cards(report: dict[str, Any]) -> str:
    """Return the figures of a finished comparison as cards."""
    counts = (
        f"{report['full_passes']} of {report['num_steps']}",
        f"steps in full; {report['forecast_passes']} predicted, {report['reflect_passes']} redone",
    )
    figures = [
        (_times(report), f"{_faster(report)}, {report['speedup_is']}{_spread(report)}", "speedup"),
        (_both_seconds(report, ""), "denoising: plain → Z-Cache", "times"),
        (
            f"{_about(report)}{report['speedup_end_to_end']:.2f}×",
            f"end to end: {_both_seconds(report, '_end_to_end')}",
            "whole",
        ),
        (*_likeness(report), "likeness"),
        (*counts, "steps"),
    ]
    if report.get("flops_speedup"):
        flops = f"{report['flops_speedup']:.1f}× fewer"
        figures.insert(3, (flops, "FLOPs, the most a clock could show", "flops"))
    return html(
        "cards",
        figures=figures,
        origin=origin(report),
        fallbacks=report["fallbacks"],
        broken=report["verdict"]["level"] == verdict.OTHER,
    )


def _faster(report: dict[str, Any]) -> str:
    broken = report["verdict"]["level"] == verdict.OTHER
    return "faster, but another picture" if broken else "faster"


def origin(report: dict[str, Any]) -> str:
    """Return one sentence on how a speedup was estimated or measured, if there is more to say."""
    if not report["speedup_how"]:
        return ""
    is_ = "is estimated" if report["speedup_is"] == "estimated" else "was measured"
    return f"The speedup {is_}: {report['speedup_how']}."


def _times(figures: dict[str, Any]) -> str:
    return f"{_about(figures)}{figures['speedup']:.2f}×"


def _spread(figures: dict[str, Any]) -> str:
    return f" ± {figures['speedup_spread']:.2f}" if figures["speedup_spread"] else ""


def _about(figures: dict[str, Any]) -> str:
    return "≈ " if figures["speedup_is"] == "estimated" else ""


def _both_seconds(report: dict[str, Any], which: str) -> str:
    """Return the seconds of both sides; those of the plain one are as sure as the speedup."""
    plain, ours = (
        _seconds(report[f"{side}_seconds{which}"]) for side in ("baseline", "accelerated")
    )
    return f"{_unbroken(_about(report) + plain)} → {_unbroken(ours)}"


def _unbroken(text: str) -> str:
    """Return a figure that is not broken before its unit."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def table(rows: Sequence[dict[str, Any]], title: str = "") -> str:
    """Return the figures of a sweep as a table under its title, the plain run first, and why a row is faster than
    its FLOPs."""
    above = {row["name"]: _above(row) for row in rows}
    notes = [f"{name}: {why}." for name, why in above.items() if why]
    cells = [_cells(row) for row in rows]
    return html("table", title=title, heads=HEADS, rows=cells, notes=notes)


def _above(row: dict[str, Any]) -> str:
    """Return why a row reads faster than its FLOPs, "" where it does not."""
    flops = row["flops_speedup"]
    reads = flops and f"{row['speedup']:.2f}" != f"{flops:.2f}"
    return timing.above_flops(row, flops) if reads else ""


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    flops = f"{row['flops_speedup']:.2f}×" if row["flops_speedup"] else "-"
    psnr = "identical" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    return (
        row["name"],
        row["granularity"] or "-",
        str(row["full_steps"]),
        _unbroken(("≈ " if row["seconds_are"] == "estimated" else "") + _seconds(row["seconds"])),
        f"{_unbroken(_times(row))} {_unbroken(_spread(row).strip())}",
        flops,
        _unbroken(psnr),
        f"{row['ssim']:.3f}",
    )


def timeline(walk: str) -> str:
    """Return one column a step with the letters of its passes from top to bottom, and a legend.

    `walk` is the report's: "0F 1f 2f 3F 1r 2r 3r" is three steps after step 0, predicted and
    then redone.
    """
    visits: dict[int, str] = defaultdict(str)
    for step, letter in PASS.findall(walk):
        visits[int(step)] += letter
    columns = [(_label(step, letters), letters) for step, letters in sorted(visits.items())]
    return html("timeline", columns=columns, tones=TONES, meanings=MEANINGS, walk=walk)


def _label(step: int, letters: str) -> str:
    return f"step {step}: {', then '.join(MEANINGS[letter] for letter in letters)}"


def _likeness(report: dict[str, Any]) -> tuple[str, str]:
    if report["identical"]:
        return "identical", "to the plain run, bit for bit"
    if "psnr_worst_frame" in report:
        mean = f"near the plain clip on average (PSNR), {report['psnr_worst_frame']:.1f} in its worst frame"
    else:
        mean = "near the plain picture (PSNR)"
    return f"{report['psnr']:.1f} dB", f"{mean}; structure (SSIM) {report['ssim']:.3f} of 1"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
