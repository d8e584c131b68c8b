"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..method import bases, weights
from ..method.config import GRANULARITY_CHOICES
from ..models.catalogue import KNOWN

MODEL = "mini-flux"  # where none is given


def add_model(sub: argparse.ArgumentParser) -> None:
    """Put on a command's parser which model runs, and where."""
    sub.add_argument(
        "--model",
        default=MODEL,
        help=f"{', '.join(KNOWN)}, a pipeline folder or a Hub repository (default {MODEL})",
    )
    sub.add_argument("--device", help="cuda, cpu, ... (default: CUDA where there is any)")


def add_cache(sub: argparse.ArgumentParser) -> None:
    """Put the settings of the cache and of the steps on a command's parser."""
    sub.add_argument("--interval", type=_number, help="one step in N is full (default 5)")
    sub.add_argument("--base", help=f"forecast: {', '.join(bases.choices())}")
    sub.add_argument("--weight", help=f"blend of the reflection: {', '.join(weights.choices())}")
    sub.add_argument(
        "--no-reflect",
        dest="reflect",
        action="store_false",
        default=None,
        help="leave the forecast steps as they are: the base strategy alone",
    )
    sub.add_argument(
        "--order",
        type=_number,
        help="highest derivative of taylorseer and hicache (default 1)",
    )
    sub.add_argument("--granularity", help=f"what is cached: {', '.join(GRANULARITY_CHOICES)}")
    sub.add_argument("--steps", type=_number, help="sampling steps (default 50)")
    sub.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def add_run(sub: argparse.ArgumentParser, place: str) -> None:
    """Put on what is drawn, and where it is written: to a `place`, such as a folder."""
    add_model(sub)
    sub.add_argument("--prompt", help="what to draw or film, 1 to 500 characters")
    sub.add_argument("--class", dest="label", help="what a class model draws: a name or number")
    sub.add_argument(
        "--profile", type=Path, help="JSON of `tune`: takes the place of all cache options"
    )
    sub.add_argument("--full", type=int, help="which full steps of the profile (default: its own)")
    sub.add_argument("--seed", type=_number, help="seed of the noise (default 0)")
    sub.add_argument("--height", type=_number, help="pixels, divisible by 16")
    sub.add_argument("--width", type=_number, help="pixels, divisible by 16")
    sub.add_argument("--frames", type=_number, help="frames of a clip, 4k + 1")
    sub.add_argument("--fps", type=_number, help="frames of a clip per second")
    sub.add_argument("--frames-png", action="store_true", help="write every frame as PNG as well")
    sub.add_argument("--out", type=Path, default=Path("out"), help=f"{place} (default: out)")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
