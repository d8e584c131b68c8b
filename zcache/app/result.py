"""A finished run in words: its name, the verdict, and what stands under each of its pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..measure import verdict
from ..method import bases
from .templating import html
from .words import cut

SIDES = {"baseline": "Plain", "base_alone": "Base alone", "accelerated": "Z-Cache"}
ALT = {
    "baseline": "Picture of the plain pipeline",
    "base_alone": "Picture of the base strategy alone",
    "accelerated": "Picture made with Z-Cache",
}
SHOWN = 120  # characters of a prompt in the name of a run
SMALL, WIDEST = (
    256,
    768,
)  # pixels of a picture sent without loss, and of any picture under the slider


def headline(report: dict[str, Any], earlier: bool = False) -> str:
    """Return what was run, the verdict on it, what it saved, and where each side is from."""
    return html(
        "headline",
        title=name(report),
        verdict=report["verdict"],
        broken=report["verdict"]["level"] == verdict.OTHER,
        saved=saved(report),
        nearer=nearer(report),
        sources=sources(report, earlier),
    )


def nearer(report: dict[str, Any]) -> str:
    """Return that the base alone came nearer to the plain run than Z-Cache; "" where it did not, or was not run."""
    alone = report.get("base_alone")
    if alone is None or report["identical"] or _shown(alone) <= _shown(report):
        return ""
    return f"Here {_base(alone)} alone is nearer: {likeness(alone)} against {likeness(report)}."


def name(report: dict[str, Any]) -> str:
    """Return what a run is known by: subject, interval, seed, steps and base."""
    config = report["config"]
    parts = [_cached(config), f"seed {report['seed']}", f"{report['num_steps']} steps"]
    if not config["reflect"]:
        parts.append("no reflection")
    return f"“{cut(report['subject'], SHOWN)}”, {', '.join(parts)}, base {_base(report)}"


def _base(figures: Mapping[str, Any]) -> str:
    """Return the base that a run forecast with, which it may have chosen itself."""
    return str(figures["base"])


def _cached(config: Mapping[str, Any]) -> str:
    """Return what a run is known by of how it was cached: N, or its own full steps."""
    full = config["full_steps"]
    return f"N = {config['interval']}" if full is None else _tuned(len(full))


def _tuned(full: int) -> str:
    return f"tuned to {full} full steps"


def asked_for(settings: Mapping[str, Any]) -> str:
    """Return what a run is called before anything of it was checked; a long prompt is cut."""
    subject = cut(str(settings.get("prompt") or settings.get("label") or ""), SHOWN)
    tuned = settings.get("tuned")
    cached = _tuned(tuned) if tuned else f"N = {settings['interval']}"
    return f"“{subject}”, {cached}, seed {settings['seed']}"


def saved(report: dict[str, Any]) -> str:
    """Return one line on what the cache saved: in FLOPs, which depend on no clock, and on the clock."""
    asked = "prompt" if "prompt" in report["call"] else "class"
    if not report.get("flops_speedup"):
        full, steps = report["full_passes"], report["num_steps"]
        return f"Same {asked}, same seed; {full} of {steps} steps computed in full."
    times = report["flops_speedup"]
    if times < 1.005:
        return f"Same {asked}, same seed, as many FLOPs: nothing is cached."
    return f"Same {asked}, same seed, {times:.1f} times fewer FLOPs, {_on_the_clock(report)}."


def _on_the_clock(report: dict[str, Any]) -> str:
    """Return the speedup in words."""
    speedup = report["speedup"]
    if speedup < 1.05:
        return "no faster here"
    about = "about " if report["speedup_is"] == "estimated" else ""
    return f"{about}{speedup:.1f} times faster"


def sources(report: dict[str, Any], earlier: bool = False) -> str:
    """Return where each side is from: the plain one, or of an `earlier` run all, from the store."""
    if earlier:
        when = moment(report["finished"])
        return f"All from the store: run {when} on {report['baseline_device']}. Run makes it anew."
    drawn = "base alone and Z-Cache drawn now" if "base_alone" in report else "Z-Cache drawn now"
    device = report["baseline_device"]
    if report["baseline_from"] != "the store":
        return f"Plain, {drawn}, on {device}."
    when = moment(report["baseline_taken"])
    return f"Plain from the store, timed {when} on {device}; {drawn}."


def moment(iso: str) -> str:
    """Return a time of a report as it is read: "2026-11-25 10:11:37 UTC"."""
    return iso.replace("T", " ").replace("+00:00", " UTC")


def caption(side: str, report: dict[str, Any]) -> str:
    """Return name, seconds and likeness of one side, as it stands under its picture."""
    return html("caption", **facts(side, report))


def facts(side: str, report: dict[str, Any]) -> dict[str, str]:
    """Return `title`, `seconds` of denoising, and what is `said` of one side."""
    if side == "baseline":
        said = "from the store" if report["baseline_from"] == "the store" else "the reference"
        about = "≈ " if report["speedup_is"] == "estimated" else ""
        return _facts(SIDES[side], report["baseline_seconds"], said, about)
    figures = report if side == "accelerated" else report.get("base_alone")
    title = _title(side, report)
    if figures is None:
        missing = "would take long" if report["config"]["reflect"] else "as Z-Cache: no reflection"
        return {"title": title, "seconds": "", "said": missing}
    if side == "accelerated":
        return _facts(title, figures["accelerated_seconds"], likeness(figures))
    estimated = "estimated" in (report["speedup_is"], figures["speedup_is"])
    seconds = report["baseline_seconds"] / figures["speedup"]  # at the pace of the others
    return _facts(title, seconds, likeness(figures), "≈ " if estimated else "")


def _title(side: str, report: dict[str, Any]) -> str:
    """Return what a cached side is called: Z-Cache with its base, where the base alone is another."""
    alone = report.get("base_alone")
    if side == "base_alone":
        return f"{_base(alone) if alone else bases.named(report['config']['base'])} alone"
    other = alone is not None and _base(alone) != _base(report)
    return f"{SIDES[side]} on {_base(report)}" if other else SIDES[side]


def halfway(report: dict[str, Any]) -> str:
    """Return the caption of the accelerated side while the plain one is still running."""
    seconds = report["accelerated_seconds"]
    return html("caption", **_facts(SIDES["accelerated"], seconds, "the others follow"))


def likeness(figures: dict[str, Any]) -> str:
    """Return the PSNR of a run in dB; of a clip that of its worst frame."""
    if figures["identical"]:
        return "identical"
    if "psnr_worst_frame" in figures:
        return f"{figures['psnr_worst_frame']:.1f} dB, worst frame"
    return f"{figures['psnr']:.1f} dB"


def _shown(figures: Mapping[str, Any]) -> float:
    """Return the dB that `likeness` shows, to its one decimal."""
    if figures["identical"]:
        return float("inf")
    return round(figures.get("psnr_worst_frame", figures["psnr"]), 1)


def difference(brightest: int) -> str:
    """Return how to read the heat map whose brightest spot is so many levels of 255 off."""
    if not brightest:
        return html("caption", title="No pixel differs.", seconds="", said="")
    levels = "1 level" if brightest == 1 else f"{brightest} levels"
    said = f"at the brightest spot a colour is {levels} of 255 off."
    return html("caption", title="Black: no difference;", seconds="", said=said)


def overlay(plain: Path, ours: Path) -> str:
    """Return both pictures under one slider that a keyboard moves, too."""
    return html("overlay", plain=embedded(plain), ours=embedded(ours))


def player() -> str:
    """Return one button and one slider for the clips of a run, which play in step."""
    return html("player")


def embedded(path: Path) -> str:
    """Return a picture as a data URL of WebP: a small one without loss, a large one reduced."""
    coded = io.BytesIO()
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        small = max(picture.size) <= SMALL
        picture.thumbnail((WIDEST, WIDEST))
        picture.save(coded, "WEBP", lossless=small, quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(coded.getvalue()).decode("ascii")


def _facts(title: str, seconds: float, said: str, about: str = "") -> dict[str, str]:
    return {"title": title, "seconds": f"{about}{seconds:.2f} s", "said": said}
