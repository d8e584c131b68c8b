"""What a visitor sees before anything was run: the method in a sentence, and one finished comparison.

`examples/first_sight.py` makes the comparison from the embedded models.
"""

from __future__ import annotations

import base64
import json
import os
from importlib import metadata, resources
from typing import Any

from ..models.request import SUBJECTS
from . import links, result
from .templating import html

PAPER = "Z-Cache: Accelerating Diffusion Transformers via Self-Reflection"
FOLDER = "first_sight"
HOW = {
    "baseline": "every step computed",
    "base_alone": "steps predicted",
    "accelerated": "steps predicted, then corrected",
}
NAMES = {
    "base_alone": {"title": "Forecasts alone"}
}  # who sees this first knows no strategy by name
SETTINGS = ("interval", "base", "weight", "reflect")


def head() -> str:
    """Return the head of the page; without the files of the example, its words alone."""
    files = resources.files("zcache.app") / FOLDER
    if not (files / "report.json").is_file():
        return html("head", paper=PAPER, code=code(), sides=[], told={})
    report = json.loads((files / "report.json").read_text(encoding="utf-8"))
    sides = [
        (
            _address((files / f"{side}.webp").read_bytes()),
            result.ALT[side],
            result.facts(side, report) | NAMES.get(side, {}) | {"how": HOW[side]},
        )
        for side in result.SIDES
    ]
    return html("head", paper=PAPER, code=code(), sides=sides, told=_told(report))


def code() -> str:
    """Return where the code can be read: the Space, or what the package names as its home; "" if
    neither is known."""
    if space := os.environ.get("SPACE_ID"):
        return f"https://huggingface.co/spaces/{space}/tree/main"
    try:
        homes = metadata.metadata("zcache-diffusers").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return ""
    return next((home.partition(", ")[2] for home in homes), "")


def _told(report: dict[str, Any]) -> dict[str, str]:
    kind = report["example_kind"]
    settings = {
        SUBJECTS[kind][0]: report["subject"],
        "seed": report["seed"],
        "steps": report["num_steps"],
    }
    chosen = {name: report["config"][name] for name in SETTINGS}
    return {
        "name": result.name(report),
        "saved": result.saved(report),
        "verdict": report["verdict"]["level"],
        "made": f"by {report['example_model']} on {report['baseline_device']}",
        "link": links.address(kind, settings | chosen),
    }


def _address(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode("ascii")
