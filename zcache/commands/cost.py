"""The commands that tell what a run costs: `python -m zcache flops | bench`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..method import checks
from ..method.config import GRANULARITY_CHOICES, ZCacheConfig
from ..method.laid_out import compact
from .options import add_model
from .output import output_file

if TYPE_CHECKING:
    from ..evaluation.method import Method

EXAMPLE = "python -m zcache"
CACHE = ("model", "interval", "granularity", "reflect")  # what a row of the paper settles
SIZES = ("height", "width", "frames")


def add_commands(commands: Any) -> None:
    """Put `flops` and `bench` on the command line's parser."""
    sub = commands.add_parser(
        "flops",
        help=flops.__doc__,
        description=flops.__doc__,
        epilog=f"example: {EXAMPLE} flops --model flux-dev --steps 50 --interval 9",
    )
    sub.set_defaults(command=flops)
    sub.add_argument(
        "--model",
        help="flux-dev (default), hunyuan-video, dit-xl-2, mini-flux, mini-hunyuan, mini-dit, or a pipeline folder",
    )
    sub.add_argument("--steps", type=int, help="sampling steps (default 50)")
    sub.add_argument("--interval", type=int, help="one step in N is full (default 5)")
    sub.add_argument("--granularity", help=", ".join(GRANULARITY_CHOICES))
    sub.add_argument(
        "--no-reflect",
        dest="reflect",
        action="store_false",
        default=None,
        help="the base strategy alone",
    )
    sub.add_argument("--preset", help="a row of the paper's tables, such as flux-dev/z-cache/9")
    sub.add_argument("--height", type=int, help="pixels, divisible by 16")
    sub.add_argument("--width", type=int, help="pixels, divisible by 16")
    sub.add_argument("--frames", type=int, help="frames of a video, 4k + 1")
    sub.add_argument("--paper", action="store_true", help="every row of the paper beside ours")
    sub.add_argument("--json", action="store_true", default=None, help="print JSON")

    sub = commands.add_parser(
        "bench",
        help=bench.__doc__,
        description=bench.__doc__,
        epilog=f"example: {EXAMPLE} bench --model mini-dit --steps 20 --intervals 4 --repeats 3",
    )
    sub.set_defaults(command=bench)
    add_model(sub)
    sub.add_argument("--prompt", help="for pictures and clips (default: the model's first example)")
    sub.add_argument("--class", dest="label", help="for class models (default: the first class)")
    sub.add_argument("--steps", type=int, default=50, help="sampling steps (default 50)")
    sub.add_argument(
        "--intervals",
        type=int,
        nargs="+",
        default=[4, 5, 8],
        help="one step in N is full (default 4 5 8)",
    )
    sub.add_argument("--repeats", type=int, default=5, help="runs of each method (default 5)")
    sub.add_argument("--no-peers", action="store_true", help="leave the peers' caches out")
    sub.add_argument(
        "--methods", nargs="+", default=[], help="more of them, by the names of `evaluate`: l2c:30"
    )
    sub.add_argument(
        "--out", type=Path, default=Path("out/bench.json"), help=".json (default out/bench.json)"
    )
    sub.add_argument("--json", action="store_true", help="print JSON")


def flops(options: argparse.Namespace) -> None:
    """FLOPs and cache bytes of a run, counted without weights."""
    from ..evaluation import rows

    if options.paper:
        _alone("paper", options, ("preset", *CACHE, "steps", *SIZES, "json"))
        print(paper_table())
        return
    if options.preset is not None:
        _alone("preset", options, CACHE)
        row = rows.row(options.preset)
        model, config = row.model, row.config
    else:
        given = {name: value for name in CACHE if (value := getattr(options, name)) is not None}
        model = given.pop("model", "flux-dev")
        config = ZCacheConfig(**given)
    cost = _cost(model, config, options)
    if options.json:
        print(compact(cost.to_dict()))
        return
    cached = f"of {cost.cached_tflops:.3g}" if cost.cached_tflops else "that compute nothing"
    print(
        f"{model}: {cost.total_tflops:.4g} of {cost.plain_tflops:.4g} TFLOPs, "
        f"{cost.speedup:.2f} times fewer; {cost.full_passes} full passes of {cost.full_tflops:.4g}, "
        f"{cost.forecast_passes} forecast and {cost.reflect_passes} reflect passes "
        f"{cached}; the cache holds {cost.cache_bytes / 1e6:.1f} MB"
    )


def _alone(name: str, options: argparse.Namespace, others: Sequence[str]) -> None:
    """Raise ConfigError if one of the other options is given, which this one has no use for."""
    given = [other for other in others if getattr(options, other) is not None]
    if given:
        other = "no-reflect" if given[0] == "reflect" else given[0]
        raise ConfigError(f"--{other} has no effect beside --{name}: leave one of them out")


def _cost(name: str, config: ZCacheConfig, options: argparse.Namespace) -> Any:
    """Return what a run costs a full-size model, or one that is on this machine."""
    from ..measure import flop_table
    from ..measure.flop_estimate import estimate
    from ..models import loading
    from ..models.architectures import ARCHITECTURES

    steps = 50 if options.steps is None else options.steps
    sizes = {side: size for side in SIZES if (size := getattr(options, side)) is not None}
    if name in ARCHITECTURES:
        own = ARCHITECTURES[name].shape
        if "frames" in sizes and own.frames == 1:
            raise ConfigError(
                f"frames is {options.frames}, but {name} makes pictures: leave it out, "
                "or choose hunyuan-video"
            )
        return estimate(name, config, steps, replace(own, **sizes))
    model = loading.find(name)
    request = loading.asked(
        model,
        steps=steps,
        interval=config.interval,
        granularity=config.granularity,
        reflect=config.reflect,
        **subject(model),
        **sizes,
    )
    cost = flop_table.of(model, request)
    if cost is None:
        raise ConfigError(
            f"the FLOPs of {name} cannot be counted before it is fetched: give "
            f"{', '.join(ARCHITECTURES)} or the folder of a pipeline of their kind"
        )
    return cost


def paper_table() -> str:
    """Markdown: the printed FLOPs of every TaylorSeer and Z-Cache row beside ours, by the same full steps."""
    from ..evaluation import rows
    from ..measure.flop_estimate import estimate

    lines = [
        "| row | full + cached passes | paper, TFLOPs | ours, TFLOPs | off by |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.ROWS.items():
        cost = estimate(row.model, row.config, 50)
        cached = cost.forecast_passes + cost.reflect_passes
        off = cost.total_tflops / row.tflops - 1
        lines.append(
            f"| {name} | {cost.full_passes} + {cached} | {row.tflops:g} | {cost.total_tflops:.5g} | {off:+.2%} |"
        )
    return "\n".join(lines)


def bench(options: argparse.Namespace) -> None:
    """Time every method on one model, side by side, with FLOPs, bytes and quality."""
    import torch

    from ..evaluation import bench as harness
    from ..evaluation.figures import speed_quality
    from ..models import loading

    model = loading.find(options.model)
    given = {name: getattr(options, name) for name in ("prompt", "label")}
    given = {name: value for name, value in given.items() if value is not None} or subject(model)
    request = loading.asked(model, steps=options.steps, interval=1, **given)
    checks.whole("repeats", options.repeats, 1)
    output_file("out", options.out, ".json")
    call = {**loading.call_arguments(model, request), "output_type": "np"}

    def draw(same: Any, index: int = 0) -> None:
        same(**call, generator=torch.Generator("cpu").manual_seed(index))

    methods = _methods(options, draw)
    _tell(f"loading {model.title}")
    pipe = loading.load(model, options.device)
    pipe.set_progress_bar_config(disable=True)
    result = harness.bench(pipe, call, methods, options.repeats, told=_tell)
    result["model"] = options.model
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(harness.table(result) + "\n")
    speed_quality.plot(result).savefig(options.out.with_suffix(".svg"))
    print(compact(result) if options.json else harness.table(result))


def _methods(options: argparse.Namespace, draw: Callable[..., None]) -> list[Method]:
    """Return what is timed; raises ConfigError for what does not fit the steps, before anything is loaded."""
    from ..evaluation import methods as named
    from ..evaluation.rivals import lineup

    methods = []
    for interval in options.intervals:
        methods += lineup.ours(interval)
        methods += [] if options.no_peers else lineup.others(interval, options.steps)
        methods += lineup.fewer_steps(interval, options.steps)
    if not options.no_peers:
        methods += lineup.adaptive(options.steps, draw)
    return methods + [named.parse(name, options.steps, draw) for name in options.methods]


def subject(model: Any) -> dict[str, Any]:
    """Return what to draw where nothing was asked for: the first example of the model's kind."""
    from ..models import loading
    from ..models.examples import EXAMPLES

    if model.kind == "class":
        return {"label": next(iter(loading.labels(model)))}
    return {"prompt": EXAMPLES[model.kind][0]}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
