"""Write the quality table of an embedded model: every base, weight, schedule and granularity, with
and without reflection, and the caches of others.

    python examples/quality_table.py --model mini-flux --prompts 32 --out examples/quality

Writes <out>/<model>.json after every method (a stopped run goes on where it was), and at the end
<out>/<model>.md and the part of <out>/README.md between the two marks of the model."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import diffusers
import torch

from zcache import ZCacheConfig
from zcache.errors import UnsupportedPipelineError
from zcache.evaluation.method import Method
from zcache.evaluation.quality import measure
from zcache.evaluation.rivals.libraries import cache_dit_mask, diffusers_taylorseer
from zcache.method import bases, weights
from zcache.models import loading
from zcache.models.mini import classes, motion, scenes

STEPS = 50
INTERVALS = range(4, 11)
OPEN = {"order": 2, "last_full": False, "weight": "logarithmic", "relax": None}
PAPER = {"weight": "logarithmic", "relax": None}  # of reflection; the schedule is named beside it
MAIN = (
    "paper schedule",
    "even schedule",
    "open schedule",
    "diffusers",
    "cache-dit",
    "fewer",
)  # 32 prompts


def z(name: str, interval: int, **settings: Any) -> Method:
    config = ZCacheConfig(interval=interval, **settings)
    return Method.zcache(f"{name} | N={interval}", config)


def main_methods(interval: int, kind: str) -> list[Method]:
    """The claims: with reflection and without, ours and the paper's, on the same full steps each."""
    methods = []
    for name, placement in (("paper schedule", "warmup"), ("even schedule", "even")):
        methods += [
            z(f"{name}, TaylorSeer", interval, placement=placement, reflect=False),
            z(f"{name}, Z-Cache as in the paper", interval, placement=placement, **PAPER),
            z(f"{name}, Z-Cache, our defaults", interval, placement=placement),
        ]
    if kind == "class":
        open_ended = {"last_full": False, "reflect": False}
        methods += [
            z("open schedule, TaylorSeer", interval, **open_ended),
            z("open schedule, Z-Cache of order 2", interval, **OPEN),
        ]
    full = len(ZCacheConfig(interval=interval).plan(STEPS).full_steps)
    methods.append(
        Method(f"fewer steps, no cache | N={interval}", call={"num_inference_steps": full})
    )
    return methods


def more_methods(interval: int) -> list[Method]:
    """One setting moved at a time."""
    methods = [
        z(f"even, {weight}, {manner}", interval, weight=weight, relax=relax)
        for weight in weights.names()
        for manner, relax in (("unrelaxed", None), ("relaxed by sigma", "sigma"))
        if (weight, relax) != ("logarithmic", None)
    ]
    for base in bases.names():
        if base != "taylorseer":
            methods += [
                z(
                    f"even, {base}, {'reflected' if reflect else 'no reflection'}",
                    interval,
                    base=base,
                    reflect=reflect,
                )
                for reflect in (True, False)
            ]
    for granularity in ("module", "output"):
        methods += [
            z(f"even, {granularity}, TaylorSeer", interval, granularity=granularity, reflect=False),
            z(f"even, {granularity}, as in the paper", interval, granularity=granularity, **PAPER),
            z(f"even, {granularity}, our defaults", interval, granularity=granularity),
        ]
    methods.append(z("even, order 2", interval, order=2))
    methods.append(z("even, order 0", interval, order=0))
    return methods


def peer_methods() -> list[Method]:
    """Caches of others, from about three to six times fewer FLOPs."""
    methods = []
    for interval in (4, 5, 6, 7, 8, 9):
        for lite in (False, True):
            kind = "lite" if lite else "per layer"
            methods.append(
                Method(
                    f"diffusers TaylorSeer, {kind} | N={interval}",
                    lambda pipe, n=interval, lite=lite: diffusers_taylorseer(pipe, n, lite),
                )
            )
    for interval in (5, 7, 9, 12, 16):
        full = ZCacheConfig.paper(interval).plan(STEPS).full_steps
        methods.append(
            Method(
                f"cache-dit TaylorSeer mask | N={interval}",
                lambda pipe, full=full: cache_dit_mask(pipe, full, STEPS),
            )
        )
    return methods


def subjects(kind: str, count: int) -> tuple[str, list[Any]]:
    """The pipeline's argument, and `count` held-out captions (for `class`: classes in turn)."""
    if kind == "class":
        return "class_labels", [index % len(classes.LABELS) for index in range(count)]
    grammar = motion if kind == "video" else scenes
    return "prompt", [grammar.caption(s) for s in grammar.samples(count, "held-out", seed=0)]


def batches(model: loading.Model, count: int, size: int) -> list[dict[str, Any]]:
    """Pipeline calls for `count` subjects, `size` each."""
    argument, asked = subjects(model.kind, count)
    return [
        {
            **model.call,
            "num_inference_steps": STEPS,
            argument: asked[i : i + size],
            "seeds": list(range(i, min(i + size, count))),
        }
        for i in range(0, count, size)
    ]


def write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(partial, path)


def table(results: dict[str, Any]) -> str:
    """Markdown: a row per method, a column per interval, PSNR in dB and FLOPs speedup."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for name, score in results.items():
        method, _, interval = name.rpartition(" | N=")
        rows.setdefault(method, {})[int(interval)] = score
    columns = sorted({interval for row in rows.values() for interval in row})
    lines = [
        "| method | " + " | ".join(f"N={n}" for n in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for method, row in rows.items():
        cells = [
            f"{row[n]['psnr_mean']:.1f} ({row[n]['flops_speedup']:.1f}×)" if n in row else ""
            for n in columns
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def split(stored: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of the main rows, and those of single settings."""
    main = {name: s for name, s in stored["results"].items() if name.startswith(MAIN)}
    return main, {name: s for name, s in stored["results"].items() if name not in main}


def about(model: str, stored: dict[str, Any], count: int) -> str:
    """How the figures of a table were measured, in one sentence."""
    what = {"image": "pictures", "class": "pictures", "video": "clips"}[loading.find(model).kind]
    return (
        f"`{model}`: PSNR in dB to the uncached {what} (FLOPs speedup), mean of {count}, "
        f"{stored['steps']} steps, {stored['device']}, {stored['dtype']}, torch {stored['torch']}, "
        f"diffusers {stored['diffusers']}."
    )


def page(model: str, stored: dict[str, Any]) -> str:
    """Both tables."""
    main, more = split(stored)
    return (
        f"{about(model, stored, stored['prompts'])}\n\n{table(main)}\n\n"
        "One setting changed at a time, the even schedule; "
        f"{about(model, stored, stored['more_prompts'])}\n\n{table(more)}\n"
    )


def into_page(path: Path, model: str, stored: dict[str, Any]) -> None:
    """Put the main rows, and a link to all of them, between the model's two marks."""
    begin, end = (f"<!-- {model}:{edge} -->" for edge in ("begin", "end"))
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"{path} lacks the marks {begin} and {end}; write them and run again")
    body = (
        f"{begin}\n{about(model, stored, stored['prompts'])}\nEvery weight, base, order, granularity "
        f"and relaxation: [{model}.md]({model}.md).\n\n"
        f"{table(split(stored)[0])}\n{end}"
    )
    path.write_text(before + body + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--intervals", type=int, nargs="+", default=list(INTERVALS))
    parser.add_argument(
        "--more-prompts", type=int, default=8, help="for the rows of single settings"
    )
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("examples/quality"))
    options = parser.parse_args()

    model = loading.find(options.model)
    pipe = loading.load(options.model)
    pipe.set_progress_bar_config(disable=True)
    methods = [m for n in options.intervals for m in main_methods(n, model.kind)]
    methods += [] if options.no_peers else peer_methods()
    more = [m for n in options.intervals for m in more_methods(n)]

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.model}.json"
    header = {
        "model": options.model,
        "steps": STEPS,
        "prompts": options.prompts,
        "more_prompts": options.more_prompts,
        "device": f"{platform.machine()} CPU" if pipe.device.type == "cpu" else str(pipe.device),
        "dtype": str(pipe.transformer.dtype),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    stored = json.loads(path.read_text()) if path.exists() else {}
    same = {key: stored.get(key) for key in header} == header
    stored = stored if same else {**header, "results": {}, "unsupported": {}}
    done = {**stored["results"], **stored["unsupported"]}
    for asked, count in ((methods, options.prompts), (more, options.more_prompts)):
        calls = batches(model, count, options.batch)
        for name, score in measure(pipe, calls, asked, done):
            if isinstance(score, UnsupportedPipelineError):
                stored["unsupported"][name] = str(score)
                print(f"{name:48s} {score}", flush=True)
            else:
                stored["results"][name] = score
                speedup = f"{score['flops_speedup']:.2f}x"
                print(f"{name:48s} {score['psnr_mean']:6.2f} dB  {speedup}", flush=True)
            write(path, stored)
    path.with_suffix(".md").write_text(page(options.model, stored))
    into_page(options.out / "README.md", options.model, stored)


if __name__ == "__main__":
    main()
