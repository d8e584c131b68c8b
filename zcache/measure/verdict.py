"""How near a run stays to the plain one, in words.

The levels are set by eye, on pictures and clips of the embedded models at intervals 8 to 25: from 35 dB
and SSIM 0.98 up nobody could tell the sides apart; below 25 dB or SSIM 0.93 shapes were deformed,
speckled, or others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IDENTICAL, SAME, CLOSE, OTHER = (
    "identical",
    "indistinguishable",
    "small differences",
    "another picture",
)
LEAST = {SAME: (35.0, 0.98), CLOSE: (25.0, 0.93)}  # PSNR in dB and SSIM


def level(figures: Mapping[str, Any]) -> str:
    """Return how near a run is to the plain one: "identical", "indistinguishable", "small
    differences" or "another picture".

    Args:
        figures: `identical`, `psnr` in dB and `ssim` as `summary` returns them; of a clip its worst
            frame decides.
    """
    if figures["identical"]:
        return IDENTICAL
    psnr = figures.get("psnr_worst_frame", figures["psnr"])
    ssim = figures.get("ssim_worst_frame", figures["ssim"])
    for name, (least_psnr, least_ssim) in LEAST.items():
        if psnr >= least_psnr and ssim >= least_ssim:
            return name
    return OTHER


def sentence(figures: Mapping[str, Any]) -> str:
    """Return the level of a run as one sentence, with what to do where the result is another."""
    clip = "psnr_worst_frame" in figures
    what, which = ("clip", "clip, in its worst frame") if clip else ("picture", "picture")
    return {
        IDENTICAL: f"Identical: every pixel is that of the plain {what}.",
        SAME: f"Indistinguishable from the plain {which}.",
        CLOSE: f"Small differences from the plain {which}.",
        OTHER: f"Another {what} than the plain one: let more steps be computed in full.",
    }[level(figures)]


def of(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the `level` and the `sentence` of a run, for its report."""
    return {"level": level(figures), "sentence": sentence(figures)}
