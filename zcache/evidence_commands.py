"""The commands that repeat the paper's tables and figures: `python -m zcache evaluate | figure`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .quiet import quieten


def add_commands(commands: Any) -> None:
    """Put `evaluate` on the command line's parser."""
    sub = commands.add_parser("evaluate", help=evaluate.__doc__, description=evaluate.__doc__)
    sub.set_defaults(command=evaluate)
    sub.add_argument("--task", choices=("class", "image", "video"), help="must be the model's")
    sub.add_argument("--model", default="mini-flux", help="known name, pipeline folder or Hub repo")
    sub.add_argument("--device", help="cuda, cpu, ... (default: CUDA where there is any)")
    sub.add_argument(
        "--methods",
        nargs="+",
        default=["equal:5"],
        help="such as steps:10 fora:5 teacache:0.4 taylorseer:5 zcache:5,weight=linear, or the sets "
        "paper, equal:N, bases:N, weights:N, peers:N (default equal:5)",
    )
    sub.add_argument(
        "--prompts", default="embedded", help="embedded, parti, vbench, imagenet or a file"
    )
    sub.add_argument("--count", type=int, help="samples of each method (default: each prompt once)")
    sub.add_argument(
        "--metrics",
        nargs="+",
        help="of: pixels temporal obeyed lpips clipscore imagereward fid sfid is vbench "
        "(default: those that need no download)",
    )
    sub.add_argument("--steps", type=int, default=50, help="steps of the uncached run (default 50)")
    sub.add_argument("--seed", type=int, default=0, help="of the first sample (default 0)")
    sub.add_argument("--batch", type=int, default=1, help="samples in one call (default 1)")
    sub.add_argument("--reference", type=Path, help="statistics for FID and sFID, ADM's .npz")
    sub.add_argument("--height", type=int, help="pixels, divisible by 16")
    sub.add_argument("--width", type=int, help="pixels, divisible by 16")
    sub.add_argument("--frames", type=int, help="frames of a clip, 4k + 1")
    sub.add_argument("--out", type=Path, default=Path("out/evaluate"), help="folder, resumed")


def evaluate(options: argparse.Namespace) -> None:
    """Generate with every method, judge it, and write the paper's table; a stopped run goes on."""
    from . import models
    from .evaluation.run import Asked
    from .evaluation.run import evaluate as run
    from .evaluation.share import Share, launched_device

    model = models.find(options.model)
    if options.task not in (None, model.kind):
        raise ConfigError(
            f"task is {options.task}, but {model.name} makes {model.kind}: give --task {model.kind}, "
            "or another model"
        )
    share = Share.launched()
    quieten()
    pipe = models.load(model, options.device or launched_device())
    pipe.set_progress_bar_config(disable=True)
    sizes = {name: getattr(options, name) for name in ("height", "width", "frames")}
    asked = Asked(
        names=options.methods,
        prompts=options.prompts,
        count=options.count,
        metrics=options.metrics,
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        reference=options.reference,
        sizes={name: size for name, size in sizes.items() if size is not None},
    )
    lead = f"process {share.rank} of {share.world}: " if share.world > 1 else ""
    if run(pipe, model, asked, options.out, share, told=lambda line: _say(lead + line)):
        print((options.out / "table.md").read_text(encoding="utf-8"), end="")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
