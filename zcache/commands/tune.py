"""The command that makes a profile: `python -m zcache tune`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from math import gcd
from pathlib import Path
from typing import Any

from ..method import checks
from ..models.quiet import quieten
from .options import add_model
from .output import output_file

NEAR, FAR = 4, 6  # prompts to calibrate by and to judge by, where none are given

COLUMNS = (
    "FLOPs: times fewer; loop: times faster, the denoising loop by the clock; PSNR and SSIM: to the uncached output, "
    "on the held-out prompts"
)


def add_commands(commands: Any) -> None:
    """Put `tune` on the command line's parser."""
    sub = commands.add_parser("tune", help=tune.__doc__, description=tune.__doc__)
    sub.set_defaults(command=tune)
    add_model(sub)
    sub.add_argument(
        "--prompts", default="embedded", help="embedded, parti, vbench, imagenet or a file"
    )
    sub.add_argument("--count", type=int, default=NEAR, help=f"prompts to tune on (default {NEAR})")
    sub.add_argument(
        "--held-out", type=int, default=FAR, help=f"further prompts to judge by (default {FAR})"
    )
    goal = sub.add_mutually_exclusive_group()
    goal.add_argument("--full", type=int, help="full steps (default 10, at most half)")
    goal.add_argument(
        "--speedup", type=float, help="so many times fewer FLOPs, or at most 2 %% less"
    )
    goal.add_argument("--psnr", type=float, help="so many dB to the uncached output")
    sub.add_argument(
        "--budgets", type=int, nargs="+", default=[], help="further numbers of full steps: a curve"
    )
    sub.add_argument("--effort", type=float, help="the most it may take, in uncached runs")
    sub.add_argument("--batch", type=int, default=1, help="prompts drawn at once (default 1)")
    sub.add_argument(
        "--projections",
        type=int,
        default=0,
        help="gradients of the decoder for each prompt, by which fits see what pictures show (default 0: latents)",
    )
    sub.add_argument("--steps", type=int, default=50, help="sampling steps (default 50)")
    sub.add_argument("--granularity", help="what is cached (default: stack and output are tried)")
    sub.add_argument("--seed", type=int, default=0, help="of the first prompt's noise (default 0)")
    sub.add_argument("--folder", type=Path, help="keep runs here: a stopped tuning goes on")
    sub.add_argument("--plot", type=Path, help="draw the curve of speed and quality")
    sub.add_argument(
        "--out",
        type=Path,
        default=Path("out/profile.json"),
        help="the profile, .json (default out/profile.json)",
    )


def tune(options: argparse.Namespace) -> None:
    """Find the best full steps and weights for a model in a few runs, and write its profile."""
    from ..evaluation import prompts
    from ..evaluation.figures import tuned
    from ..measure.tune import tune as search
    from ..measure.tune.asked import Asked
    from ..models import loading

    for name, least in (("count", 1), ("held_out", 1), ("steps", 2)):
        checks.whole(name.replace("_", "-"), getattr(options, name), least)
    names = [field.name for field in fields(Asked)]
    goal = {name: getattr(options, name) for name in names}
    Asked(**goal).check(options.steps, options.count, options.held_out)
    model = loading.find(options.model)
    count = options.count + options.held_out
    subjects = prompts.for_tuning(options.prompts, model, count)
    subjects = [prompts.sample(subjects, index) for index in _spread(len(subjects), count)]
    output_file("out", options.out, ".json")
    if options.plot is not None:
        output_file("plot", options.plot, ".svg", ".png", ".pdf")
    quieten()
    pipe = loading.load(model, options.device)
    pipe.set_progress_bar_config(disable=True)
    profile = search(
        pipe,
        subjects[: options.count],
        held_out=subjects[options.count :],
        **goal,
        told=lambda line: print(line, file=sys.stderr, flush=True),
        **{**model.call, "num_inference_steps": options.steps},
    )
    profile.save(options.out)
    if options.plot is not None:
        tuned.plot(profile).savefig(options.plot)
    print(tuned.table(profile))
    print(COLUMNS, file=sys.stderr)


def _spread(subjects: int, count: int) -> list[int]:
    """Which subjects are drawn: far from each other, each once before any comes again."""
    stride = next(
        s for s in range(max(1, round(subjects * 0.38)), 2 * subjects) if gcd(s, subjects) == 1
    )
    return [index * stride % subjects for index in range(count)]
