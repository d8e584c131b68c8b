"""The commands that repeat the paper's tables and figures: `python -m zcache evaluate | figure`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..method import checks
from ..method.config import GRANULARITIES, ZCacheConfig
from ..models.quiet import quieten
from .options import add_model

DRAWN = ("fig2", "fig4", "fig6", "fig7", "fig8", "fig9")  # need a model
PLANNED = ("schedule", "speed-quality")


def add_commands(commands: Any) -> None:
    """Put `evaluate` and `figure` on the command line's parser."""
    _add_evaluate(commands)
    _add_figure(commands)


def _add_evaluate(commands: Any) -> None:
    sub = commands.add_parser("evaluate", help=evaluate.__doc__, description=evaluate.__doc__)
    sub.set_defaults(command=evaluate)
    sub.add_argument("--task", choices=("class", "image", "video"), help="must be the model's")
    add_model(sub)
    sub.add_argument(
        "--methods",
        nargs="+",
        default=["equal:5"],
        help="such as steps:10 fora:5 teacache:0.4 taylorseer:5 zcache:5,weight=linear, or the sets "
        "paper, equal:N, bases:N, weights:N, diffusers:N, cachedit:N (default equal:5)",
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
    sub.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of each process on a CPU, where they change the last bits (default 1)",
    )
    sub.add_argument("--reference", type=Path, help="statistics for FID and sFID, ADM's .npz")
    sub.add_argument("--height", type=int, help="pixels, divisible by 16")
    sub.add_argument("--width", type=int, help="pixels, divisible by 16")
    sub.add_argument("--frames", type=int, help="frames of a clip, 4k + 1")
    sub.add_argument("--out", type=Path, default=Path("out/evaluate"), help="folder, resumed")


def _add_figure(commands: Any) -> None:
    sub = commands.add_parser("figure", help=figure.__doc__, description=figure.__doc__)
    sub.set_defaults(command=figure)
    sub.add_argument("name", choices=(*DRAWN, *PLANNED), help="which figure")
    add_model(sub)
    sub.add_argument("--prompt", help="for pictures and clips (default: a held-out caption)")
    sub.add_argument("--class", dest="label", help="for class models (default: the first class)")
    sub.add_argument("--steps", type=int, default=50, help="sampling steps (default 50)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    sub.add_argument(
        "--interval", type=int, default=6, help="fig2, fig4, fig8, schedule (default 6)"
    )
    sub.add_argument(
        "--intervals", type=int, nargs="+", help="fig6 (1 to 9), fig7 (7 to 9), fig9 (3 to 9)"
    )
    sub.add_argument(
        "--granularity", default="stack", help=f"fig4 and on: {', '.join(GRANULARITIES)}"
    )
    sub.add_argument("--count", type=int, default=4, help="fig9: prompts (default 4)")
    sub.add_argument("--box", type=float, nargs=4, help="fig7: left top right bottom, 0 to 1")
    sub.add_argument("--paper", action="store_true", help="the paper's schedule, unrelaxed")
    sub.add_argument(
        "--bench", type=Path, default=Path("out/bench.json"), help="speed-quality: input"
    )
    sub.add_argument("--out", type=Path, help=".svg, .png or .pdf (default: out/NAME.png)")


def evaluate(options: argparse.Namespace) -> None:
    """Generate with every method, judge it, and write the paper's table; a stopped run goes on."""
    from ..evaluation import methods
    from ..evaluation.drawing import sample_as_in_the_paper
    from ..evaluation.evaluate import Asked
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.processes import Share, launched_device, threads
    from ..models import loading

    model = loading.find(options.model)
    if options.task not in (None, model.kind):
        raise ConfigError(
            f"task is {options.task}, but {model.name} makes {model.kind}: give --task {model.kind}, "
            "or another model"
        )
    for name in methods.expand(options.methods, model.name, options.steps):
        methods.parse(name, options.steps)
    share = Share.launched()
    quieten()
    pipe = loading.load(model, options.device or launched_device())
    sample_as_in_the_paper(pipe, model.name)
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
    with threads(options.threads):
        result = run(pipe, model, asked, options.out, share, told=lambda line: _say(lead + line))
    if result:
        print((options.out / "table.md").read_text(encoding="utf-8"), end="")


def figure(options: argparse.Namespace) -> None:
    """Draw a figure of the paper, for any model."""
    out = options.out or Path("out") / f"{options.name}.png"
    if out.suffix not in (".svg", ".png", ".pdf"):
        raise ConfigError(f"out is {out}; end it in .svg, .png or .pdf")
    config = (ZCacheConfig.paper if options.paper else ZCacheConfig)(
        options.interval, granularity=options.granularity
    )
    made = _planned(options, config) if options.name in PLANNED else _drawn(options, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(out, dpi=160)
    print(out)


def _planned(options: argparse.Namespace, config: ZCacheConfig) -> Any:
    """Return a figure that needs no model."""
    from ..evaluation.figures import speed_quality
    from ..evaluation.figures.walk import schedule

    if options.name == "schedule":
        return schedule(config.plan(options.steps))
    try:
        result = json.loads(options.bench.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{options.bench} is no file: run `python -m zcache bench`, or give --bench"
        ) from None
    except (ValueError, RecursionError):
        result = None
    if not speed_quality.is_result(result):
        raise ConfigError(
            f"{options.bench} is not what bench writes: give the JSON of `python -m zcache bench`"
        )
    return speed_quality.plot(result)


def _drawn(options: argparse.Namespace, config: ZCacheConfig) -> Any:
    """Return a figure of what a model draws."""
    from ..evaluation.figures.fig2_layers import fig2
    from ..evaluation.figures.fig4_trajectories import fig4
    from ..evaluation.figures.fig9_weights import fig9
    from ..evaluation.figures.fig678_pictures import fig6, fig7, fig8
    from ..models import loading

    checks.whole("count", options.count, 1)
    for interval in options.intervals or ():
        config.replace(interval=interval).plan(options.steps)
    model = loading.find(options.model)
    calls = _calls(model, options)
    quieten()
    pipe = loading.load(model, options.device)
    pipe.set_progress_bar_config(disable=True)
    (first, *_), seed = calls, options.seed
    over = {"intervals": options.intervals} if options.intervals else {}
    box = {"box": tuple(options.box)} if options.box else {}
    ways = {
        "fig2": lambda: fig2(pipe, first, config, seed),
        "fig4": lambda: fig4(pipe, first, config, seed),
        "fig6": lambda: fig6(pipe, first, config, seed, **over),
        "fig7": lambda: fig7(pipe, first, config, seed, **over, **box),
        "fig8": lambda: fig8(pipe, first, _rivals(config), seed),
        "fig9": lambda: fig9(pipe, calls, config, seed, **over),
    }
    return ways[options.name]()


def _rivals(config: ZCacheConfig) -> dict[str, ZCacheConfig]:
    """The methods of Figure 8, at the same full steps (TeaCache chooses its own)."""
    alone = config.replace(reflect=False)
    return {
        "FORA": alone.replace(base="fora"),
        "TeaCache": alone.replace(base="teacache"),
        "TaylorSeer": alone.replace(base="taylorseer"),
        "Z-Cache": config,
    }


def _calls(model: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the pipeline calls of what was asked for, else of `count` subjects that the model
    knows."""
    from ..evaluation import prompts
    from ..models import loading

    name = "label" if model.kind == "class" else "prompt"
    given = options.label if model.kind == "class" else options.prompt
    subjects = [given] if given is not None else prompts.read("embedded", model, options.count)
    requests = [
        loading.asked(model, steps=options.steps, interval=1, **{name: subject})
        for subject in subjects[: options.count]
    ]
    return [loading.call_arguments(model, request) for request in requests]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
