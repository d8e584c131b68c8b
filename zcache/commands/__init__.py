"""The command line: `python -m zcache generate | compare | plan`; without a command, its help.

A refused input or a checkpoint that cannot be had is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from ..errors import ZCacheError
from ..method.config import ZCacheConfig
from ..method.laid_out import compact
from ..method.profile import Profile
from ..method.schedule import shifted
from ..models.quiet import quieten
from ..models.request import Request, RequestError, checked
from . import cost, paper, tune
from .options import add_cache, add_run
from .output import Progress, in_words, output_folder, output_path, sentence, tell_outside

if TYPE_CHECKING:
    from ..models.catalogue import Model

PROGRAM = "python -m zcache"
REFUSED, INTERRUPTED = 2, 130
EXAMPLES = f"""examples:
  {PROGRAM} compare --prompt "a rocket on a blue dotted background" --interval 8 --out out
  {PROGRAM} generate --prompt "a cat left of a cake on a dark striped background" --out cat.png
  {PROGRAM} compare --model mini-hunyuan --prompt "a red circle moves left" --out clips
  {PROGRAM} plan --steps 50 --interval 8
"""
EXAMPLE = {  # of one command
    "generate": '--prompt "a rocket on a blue dotted background" --out rocket.png',
    "compare": '--prompt "a rocket on a blue dotted background" --interval 8 --out out',
    "plan": "--steps 50 --interval 8",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        options.command(options)
    except (ZCacheError, OSError) as error:
        print(f"zcache: {sentence(error)}", file=sys.stderr)
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
    path = output_path(options.out, files.suffix(fps))
    progress = Progress()
    pipe, call = _prepared(model, request, options, progress)
    progress.end()
    not_taught = tell_outside(model, request)
    config = _config(pipe, request, options)
    watch = partial(progress.on_pass, "accelerated")
    result = compare.generate(pipe, call, config, request.seed, watch)
    progress.end()
    files.write(result.frames, path, fps)
    if options.frames_png:
        files.write_each(result.frames, path.with_suffix(""))
    report = {
        "denoise_seconds": result.denoise_seconds,
        "end_to_end_seconds": result.seconds,
        "output": str(path),
        "seed": request.seed,
        "not_taught": not_taught,
        **(result.report or {}),
        **environment.describe(pipe),
    }
    files.write_json(report, path.with_suffix(".json"))
    _say(options, report, f"{path}: denoised in {result.denoise_seconds:.2f} s")


def compare_both(options: argparse.Namespace) -> None:
    """Draw one picture or clip plainly and with Z-Cache, and measure the difference."""
    from ..measure import compare, files, verdict
    from ..measure.summary import with_flops
    from ..models import loading

    model, request = _asked(options)
    folder = output_folder(options.out)
    progress = Progress()
    pipe, call = _prepared(model, request, options, progress)
    progress.end()
    not_taught = tell_outside(model, request)
    config = _config(pipe, request, options)
    progress.say("warming up")
    comparison = compare.compare(pipe, call, config, request.seed, progress.on_pass)
    progress.end()
    report = with_flops(comparison.report, model, request)
    report |= {"verdict": verdict.of(report), "not_taught": not_taught}
    comparison = replace(comparison, report=report)
    files.write_comparison(comparison, folder, loading.fps(model, request))
    if options.frames_png:
        for side in compare.SIDES:
            files.write_each(getattr(comparison, side).frames, folder / side)
    _say(options, report, f"{folder}: {in_words(report)}")


def plan(options: argparse.Namespace) -> None:
    """Print which steps are computed in full, the walk over all passes, and what that saves."""
    from ..method.schedule import Kind

    request = checked(prompt="plan", **_given(options))
    times = shifted(request.steps, options.shift)
    config = request.config()
    planned = config.plan(request.steps, times, options.diffusion)
    passes = {f"{kind.word}_passes": planned.count(kind) for kind in Kind}
    most = request.steps / passes["full_passes"]
    report = {
        "adaptive": config.adaptive,
        "full_steps": list(planned.full_steps),
        "walk": str(planned),
        **passes,
        "most_speedup": most,
    }
    _say(options, report, _planned(report, request.steps))


def _planned(report: dict[str, Any], num_steps: int) -> str:
    """Return a plan in words; one whose full steps the run decides as about what it is."""
    about, at_most, decided = "", "at most", ""
    if report["adaptive"]:
        about, at_most = "about ", "about"
        decided = " (adaptive: decided in the run, by how much its steps change)"
    return (
        f"full steps: {about}{', '.join(map(str, report['full_steps']))}{decided}\n"
        f"{report['walk']}\n"
        f"{about}{report['full_passes']} of {num_steps} steps in full, {report['forecast_passes']} forecast "
        f"and {report['reflect_passes']} reflect passes: "
        f"{at_most} {report['most_speedup']:.2f} times fewer FLOPs"
    )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"zcache: {message}; see {PROGRAM} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Training-free feature caching for FLUX, HunyuanVideo, DiT and kin.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zcache {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="command", parser_class=_Parser)
    for name, command in (("generate", generate), ("compare", compare_both), ("plan", plan)):
        sub = commands.add_parser(
            name,
            help=command.__doc__,
            description=command.__doc__,
            epilog=f"example: {PROGRAM} {name} {EXAMPLE[name]}",
        )
        sub.set_defaults(command=command)
        add_cache(sub)
        if command is plan:
            sampler = sub.add_mutually_exclusive_group()
            sampler.add_argument(
                "--shift",
                type=float,
                help="of a flow's time, as FLUX.1-dev's 3.2 or HunyuanVideo's 7: full steps are drawn to "
                "its beginning and to where it falls fast; without it they are even",
            )
            sampler.add_argument(
                "--diffusion",
                action="store_true",
                help="of a diffusion sampler, as DiT-XL/2's: the last full step is half a window "
                "before the end",
            )
        else:
            add_run(sub, "folder" if command is compare_both else "file or folder")
    cost.add_commands(commands)
    paper.add_commands(commands)
    tune.add_commands(commands)
    return parser


def _asked(options: argparse.Namespace) -> tuple[Model, Request]:
    """Return the model and the checked request, before anything large is loaded."""
    from ..models import loading

    if options.profile is not None:
        profile = Profile.load(options.profile)
        profile.config(options.full)
        default = profile.default if options.full is None else options.full
        options.profile = replace(profile, default=default)
    elif options.full is not None:
        raise RequestError(
            f"full is {options.full}, but no profile is given: give --profile too, or leave it out"
        )
    model = loading.find(options.model)
    return model, loading.asked(model, **_given(options))


def _prepared(
    model: Model, request: Request, options: argparse.Namespace, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    """Load the model; return its pipeline and the arguments of its call."""
    from ..models import loading

    progress.say(f"loading {model.title}")
    quieten()
    pipe = loading.load(model, options.device)
    pipe.set_progress_bar_config(disable=True)
    return pipe, loading.call_arguments(model, request)


def _config(pipe: Any, request: Request, options: argparse.Namespace) -> ZCacheConfig:
    """Return the settings of the profile that was given, else those of the request."""
    if options.profile is None:
        return request.config()
    from ..caching.enable import settings

    return settings(pipe, options.profile)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the request's settings that were written on the command line."""
    names = set(Request.__dataclass_fields__) & set(vars(options))
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    steps = given.get("steps", Request.steps)
    if "interval" not in given and isinstance(steps, int) and 1 <= steps < Request.interval:
        if getattr(options, "profile", None) is not None:
            return given | {"interval": steps}  # in whose place the profile's full steps are taken
        raise RequestError(
            f"interval is {Request.interval} (the default), above the {steps} steps: give --interval too"
        )
    return given


def _say(options: argparse.Namespace, report: dict[str, Any], said: str) -> None:
    print(compact(report) if options.json else said)
