"""The command line: `python -m zcache generate | compare | plan`.

A refused input or a checkpoint that cannot be had is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ZCacheError
from ..method import bases, weights
from ..method.config import GRANULARITIES, ZCacheConfig
from ..method.profile import Profile
from ..models.quiet import quieten
from ..models.request import Request, RequestError, checked
from . import cost, paper, tune

if TYPE_CHECKING:
    from ..models.catalogue import Model

PROGRAM = "python -m zcache"
REFUSED, INTERRUPTED = 2, 130
NAMES = {".png": "picture", ".mp4": "clip"}  # what a file of an ending holds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (ZCacheError, OSError) as error:
        print(f"zcache: {_one_line(error)}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("zcache: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def generate(options: argparse.Namespace) -> None:
    """Draw one picture or clip with Z-Cache (with --interval 1: without any cached step)."""
    from ..measure import compare, environment, files
    from ..models import loading

    model, request = _asked(options)
    fps = loading.fps(model, request)
    path = _output_path(options.out, files.suffix(fps))
    pipe, call = _prepared(model, request, options)
    result = compare.generate(pipe, call, _config(pipe, request, options), request.seed)
    files.write(result.frames, path, fps)
    if options.frames_png:
        files.write_each(result.frames, path.with_suffix(""))
    report = {
        "denoise_seconds": result.denoise_seconds,
        "end_to_end_seconds": result.seconds,
        "output": str(path),
        "seed": request.seed,
        **(result.report or {}),
        **environment.describe(pipe),
    }
    files.write_json(report, path.with_suffix(".json"))
    _say(options, report, f"{path}: denoised in {result.denoise_seconds:.2f} s")


def compare_both(options: argparse.Namespace) -> None:
    """Draw one picture or clip plainly and with Z-Cache, and measure the difference."""
    from ..measure import compare, files
    from ..models import loading

    model, request = _asked(options)
    options.out.mkdir(parents=True, exist_ok=True)
    pipe, call = _prepared(model, request, options)
    comparison = compare.compare(pipe, call, _config(pipe, request, options), request.seed)
    files.write_comparison(comparison, options.out, loading.fps(model, request))
    if options.frames_png:
        for side in compare.SIDES:
            files.write_each(getattr(comparison, side).frames, options.out / side)
    report = comparison.report
    psnr = "identical" if report["identical"] else f"PSNR {report['psnr']:.1f} dB"
    _say(
        options,
        report,
        f"{options.out}: {report['speedup']:.2f} times faster "
        f"({report['baseline_seconds']:.2f} s to {report['accelerated_seconds']:.2f} s), "
        f"{psnr}, SSIM {report['ssim']:.3f}",
    )


def plan(options: argparse.Namespace) -> None:
    """Print which steps are computed in full and the walk over all passes."""
    request = checked(prompt="plan", **_given(options))
    planned = request.config().plan(request.steps)
    report = {"full_steps": list(planned.full_steps), "walk": str(planned)}
    _say(options, report, f"full steps: {', '.join(map(str, planned.full_steps))}\n{planned}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"zcache: {message}; see {PROGRAM} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Training-free feature caching for FLUX, HunyuanVideo, DiT and kin.",
    )
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=_Parser)
    for name, command in (("generate", generate), ("compare", compare_both), ("plan", plan)):
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        _add_cache_options(sub)
        if command is not plan:
            _add_run_options(sub)
    cost.add_commands(commands)
    paper.add_commands(commands)
    tune.add_commands(commands)
    return parser


def _add_cache_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--interval", type=_number, help="one step in N is full (default 5)")
    sub.add_argument("--base", help=f"forecast: {', '.join(bases.names())}")
    sub.add_argument("--weight", help=f"blend of the reflection: {', '.join(weights.choices())}")
    sub.add_argument("--no-reflect", dest="reflect", action="store_false", default=None)
    sub.add_argument(
        "--order",
        type=_number,
        help="highest derivative of taylorseer (default 1)",
    )
    sub.add_argument("--granularity", help=f"what is cached: {', '.join(GRANULARITIES)}")
    sub.add_argument("--steps", type=_number, help="sampling steps (default 50)")
    sub.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", default="mini-flux", help="known name, pipeline folder or Hub repo")
    sub.add_argument("--prompt", help="what to draw or film, 1 to 500 characters")
    sub.add_argument("--class", dest="label", help="what a class model draws: a name or number")
    sub.add_argument(
        "--profile", type=Path, help="JSON of `tune`: takes the place of all cache options"
    )
    sub.add_argument("--full", type=int, help="which full steps of the profile (default: its own)")
    sub.add_argument("--device", help="cuda, cpu, ... (default: CUDA where there is any)")
    sub.add_argument("--seed", type=_number, help="seed of the noise (default 0)")
    sub.add_argument("--height", type=_number, help="pixels, divisible by 16")
    sub.add_argument("--width", type=_number, help="pixels, divisible by 16")
    sub.add_argument("--frames", type=_number, help="frames of a clip, 4k + 1")
    sub.add_argument("--fps", type=_number, help="frames of a clip per second")
    sub.add_argument("--frames-png", action="store_true", help="write every frame as PNG as well")
    sub.add_argument("--out", type=Path, default=Path("out"), help="folder (default: out)")


def _asked(options: argparse.Namespace) -> tuple[Model, Request]:
    """Return the model and the checked request, before anything large is loaded."""
    from ..models import loading

    model = loading.find(options.model)
    return model, loading.asked(model, **_given(options))


def _prepared(
    model: Model, request: Request, options: argparse.Namespace
) -> tuple[Any, dict[str, Any]]:
    """Load the model; return its pipeline and the arguments of its call."""
    from ..models import loading

    if not sys.stderr.isatty():
        quieten()
    pipe = loading.load(model, options.device)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty())
    return pipe, loading.call_arguments(model, request)


def _config(pipe: Any, request: Request, options: argparse.Namespace) -> ZCacheConfig:
    """Return the settings of the profile that was given, else those of the request."""
    if options.profile is None:
        return request.config()
    from ..caching.enable import settings

    profile = Profile.load(options.profile)
    return settings(pipe, replace(profile, default=options.full or profile.default))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the request's settings that were written on the command line."""
    names = set(Request.__dataclass_fields__) & set(vars(options))
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _output_path(out: Path, suffix: str) -> Path:
    """Return `out` itself if it names a file of this kind, else a new name in the folder `out`.

    Raises RequestError when `out` names a file of the other kind.
    """
    ending = out.suffix.lower()
    if ending != suffix and ending in NAMES:
        raise RequestError(
            f"out is {out}, but this model makes a {NAMES[suffix]}: "
            f"end the name in {suffix}, or give a folder"
        )
    path = out if ending == suffix else out / f"{NAMES[suffix]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _say(options: argparse.Namespace, report: dict[str, Any], sentence: str) -> None:
    print(json.dumps(report, indent=2) if options.json else sentence)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
