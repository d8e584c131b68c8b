"""Write the quality table: every base, weight, schedule and granularity, with and without
reflection.

    python examples/quality_table.py --model mini-flux --prompts 32 --out examples/quality

Writes <out>/<model>.json after every method (a stopped run goes on where it was) and
<out>/<model>.md at the end."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from zcache import ZCacheConfig, bases, models, weights
from zcache.mini import scenes
from zcache.peers import cache_dit_mask, diffusers_taylorseer
from zcache.quality import Method, measure

STEPS = 50
INTERVALS = range(4, 11)
PAPER = {"placement": "warmup", "relax": None}


def z(name: str, interval: int, **settings: Any) -> Method:
    config = ZCacheConfig(interval=interval, **settings)
    return Method.zcache(f"{name} | N={interval}", config)


def main_methods(interval: int) -> list[Method]:
    """The claims: reflection against none, ours against the paper's, on the same full steps
    each."""
    return [
        z("paper schedule, TaylorSeer", interval, reflect=False, **PAPER),
        z("paper schedule, Z-Cache (paper)", interval, **PAPER),
        z("paper schedule, Z-Cache relaxed", interval, placement="warmup", relax="sigma"),
        z("even schedule, TaylorSeer", interval, reflect=False),
        z("even schedule, Z-Cache relaxed", interval, relax="sigma"),
        z("even schedule, Z-Cache (default)", interval),
    ]


def more_methods(interval: int) -> list[Method]:
    """One setting moved at a time."""
    methods = [
        z(
            f"even, {weight}, {'relaxed' if relax else 'unrelaxed'}",
            interval,
            weight=weight,
            relax=relax,
        )
        for weight in weights.names()
        if weight != "logarithmic"
        for relax in ("sigma", None)
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
            z(f"even, {granularity}, relaxed", interval, granularity=granularity, relax="sigma"),
            z(f"even, {granularity}, default", interval, granularity=granularity),
        ]
    methods.append(z("even, order 2", interval, order=2))
    methods.append(z("even, order 0", interval, order=0))
    full = len(ZCacheConfig(interval=interval).plan(STEPS).full_steps)
    methods.append(
        Method(f"fewer Euler steps ({full}) | N={interval}", call={"num_inference_steps": full})
    )
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


def batches(model: models.Model, count: int, size: int) -> list[dict[str, Any]]:
    """Pipeline calls for `count` held-out captions, `size` pictures each."""
    captions = [scenes.caption(scene) for scene in scenes.samples(count, "held-out", seed=0)]
    return [
        {
            **model.call,
            "num_inference_steps": STEPS,
            "prompt": captions[i : i + size],
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--intervals", type=int, nargs="+", default=list(INTERVALS))
    parser.add_argument("--more-intervals", type=int, nargs="*", default=list(INTERVALS))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("examples/quality"))
    options = parser.parse_args()

    model = models.find(options.model)
    pipe = models.load(options.model)
    pipe.set_progress_bar_config(disable=True)
    methods = [m for n in options.intervals for m in main_methods(n)]
    methods += [] if options.no_peers else peer_methods()
    methods += [m for n in options.more_intervals for m in more_methods(n)]

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.model}.json"
    header = {
        "model": options.model,
        "steps": STEPS,
        "prompts": options.prompts,
        "torch": torch.__version__,
    }
    stored = json.loads(path.read_text()) if path.exists() else {}
    results = stored.get("results", {}) if {k: stored.get(k) for k in header} == header else {}
    calls = batches(model, options.prompts, options.batch)
    for name, score in measure(pipe, calls, methods, results):
        results[name] = score
        write(path, {**header, "results": results})
        print(f"{name:48s} {score['psnr_mean']:6.2f} dB  {score['flops_speedup']:.2f}x", flush=True)
    path.with_suffix(".md").write_text(table(results) + "\n")


if __name__ == "__main__":
    main()
