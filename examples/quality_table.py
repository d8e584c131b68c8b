"""Everybody at 3, 5 and 7 times fewer FLOPs on an embedded model, from the same seeds.

    python examples/quality_table.py --model mini-flux --subjects 32

Every method is drawn at several of its own settings; between the two nearest, dB are interpolated in the
logarithm of the FLOPs speedup, picture by picture. No method stands beyond what was drawn. The tuned row
takes zcache/data/profiles/<model>.json, which was found on other subjects and seeds.

Writes <out>/<model>.json after every method (a stopped run goes on where it was) and <out>/<model>.md."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from zcache import ZCacheConfig
from zcache.errors import UnsupportedPipelineError
from zcache.evaluation.method import Method
from zcache.evaluation.methods import parse
from zcache.evaluation.quality import measure
from zcache.evaluation.rivals import spectrum
from zcache.measure.metrics import interval95
from zcache.models import loading, profiles
from zcache.models.mini import classes, motion, scenes

STEPS = 50
TARGETS = (3, 5, 7)  # times fewer FLOPs
COUNTS = (20, 16, 12, 10, 8, 7, 6)  # full steps, or steps
INTERVALS = (3, 4, 5, 6, 7, 9)
FIRST_SEED = 9000
OURS, ALONE = "Z-Cache", "the same full steps, forecasts alone"
NAMED = {  # family: the settings of `evaluate --methods`
    OURS: [f"zcache:{n}" for n in (3, 4, 5, 6, 8, 9, 12)],
    "Z-Cache on TaylorSeer": [f"zcache:{n},base=taylorseer" for n in (3, 4, 5, 6, 8, 9, 12)],
    "Z-Cache on FORA": [f"zcache:{n},base=fora" for n in (3, 4, 5, 6, 8, 9, 12)],
    ALONE: [f"taylorseer:{n}" for n in (3, 4, 5, 6, 8, 9, 12)],
    "FORA": [f"fora:{n}" for n in (3, 4, 5, 6, 8, 9, 12)],
    "TeaCache": [f"zcache:{n},base=teacache,reflect=no" for n in (3, 4, 5, 6, 8, 9)],
    "diffusers TaylorSeer": [f"diffusers-taylorseer:{n}" for n in INTERVALS],
    "diffusers TaylorSeer, lite": [f"diffusers-taylorseer-lite:{n}" for n in INTERVALS],
    "cache-dit TaylorSeer": [f"cache-dit-mask:{n}" for n in (3, 5, 9, 16)],
    "cache-dit FoCa": [f"cache-dit-foca:{n}" for n in (3, 5, 9, 16)],
    "DPCache": [f"dpcache:{n}" for n in COUNTS],
    "Spectrum": [
        f"spectrum:2,flex={spectrum.matched(STEPS, n):g}" for n in COUNTS if n > spectrum.WARMUP
    ],
    "SeaCache": [f"seacache:{t}" for t in (0.1, 0.2, 0.4, 0.8)],
    "SmoothCache": [f"smoothcache:{a}" for a in (0.08, 0.22, 0.5)],
    "fewer steps, the model's sampler": [f"steps:{n}" for n in COUNTS],
    "fewer steps, UniPC": [f"unipc:{n}" for n in COUNTS],
    "fewer steps, DPM-Solver++": [f"dpm:{n}" for n in COUNTS],
}


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
            "seeds": [FIRST_SEED + row for row in range(i, min(i + size, count))],
        }
        for i in range(0, count, size)
    ]


def methods(model: loading.Model, calls: list[dict[str, Any]]) -> Iterator[Method]:
    """Every setting of every family; a name begins with its family."""
    first = {
        k: v[:1] if isinstance(v, list) else v for k, v in calls[0].items() if k != "seeds"
    } | {"output_type": "latent"}

    def uncached(pipe: Any, index: int = 0) -> None:
        """What peers are calibrated on: a subject of the table, at a seed of its own."""
        pipe(**first, generator=torch.Generator("cpu").manual_seed(index))

    found = profiles.of(model)
    if found is not None:
        for count in sorted(found.budgets):
            yield Method.zcache(f"Z-Cache, tuned | {count}", found.config(count))
    for n in INTERVALS:
        paper = ZCacheConfig.paper(n)
        yield Method.zcache(f"Z-Cache as in the paper | {n}", paper)
        yield Method.zcache(f"TaylorSeer as in the paper | {n}", paper.replace(reflect=False))
    for family, names in NAMED.items():
        for name in names:
            known = parse(name, STEPS, uncached)
            yield Method(f"{family} | {name}", known.apply, known.call)


def at(points: list[dict[str, Any]], target: float) -> np.ndarray | None:
    """dB of every picture at a FLOPs speedup, between the two nearest points; None outside of them."""
    points = sorted(points, key=lambda point: point["flops_speedup"])
    for low, high in itertools.pairwise(points):
        a, b = (np.log(point["flops_speedup"]) for point in (low, high))
        if a <= np.log(target) <= b and b > a:
            share = (np.log(target) - a) / (b - a)
            return (1 - share) * np.array(low["psnr"]) + share * np.array(high["psnr"])
    return None


def table(results: dict[str, Any]) -> str:
    """Markdown: a row for every family, the best at 5 times first."""
    families: dict[str, list[dict[str, Any]]] = {}
    for name, score in results.items():
        if score["flops_speedup"]:
            families.setdefault(name.partition(" | ")[0], []).append(score)
    rows = {
        family: [at(points, target) for target in TARGETS] for family, points in families.items()
    }
    middle = len(TARGETS) // 2

    def worth(family: str) -> float:
        values = rows[family][middle]
        return -np.inf if values is None else float(values.mean())

    lines = [f"| method | {' | '.join(f'{target}×' for target in TARGETS)} | at most |"]
    lines.append("|---|" + "---|" * (len(TARGETS) + 1))
    for family in sorted(rows, key=worth, reverse=True):
        cells = (
            "" if values is None else f"{values.mean():.1f} ± {interval95(values) or 0:.1f}"
            for values in rows[family]
        )
        most = max(point["flops_speedup"] for point in families[family])
        lines.append(f"| {family} | {' | '.join(cells)} | {most:.1f}× |")
    return "\n".join(lines)


def write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(partial, path)


def page(stored: dict[str, Any]) -> str:
    """What was measured and how, the table, and who could not run."""
    lines = [
        f"`{stored['model']}`: PSNR in dB to the uncached output, mean of {stored['subjects']} and 95 % "
        f"interval, {stored['steps']} steps, {stored['device']}, {stored['dtype']}, torch {stored['torch']}, "
        f"diffusers {stored['diffusers']}. Empty: not within what was drawn.",
        "",
        table(stored["results"]),
        "",
    ]
    faults = {name.partition(" | ")[0]: why for name, why in stored["unsupported"].items()}
    lines += [f"{family} cannot run on this pipeline: {why}" for family, why in faults.items()]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux")
    parser.add_argument("--subjects", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "quality")
    options = parser.parse_args()

    model = loading.find(options.model)
    pipe = loading.load(options.model)
    pipe.set_progress_bar_config(disable=True)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.model}.json"
    header = {
        "model": options.model,
        "steps": STEPS,
        "subjects": options.subjects,
        "device": f"{platform.machine()} CPU" if pipe.device.type == "cpu" else str(pipe.device),
        "dtype": str(pipe.transformer.dtype),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    stored = json.loads(path.read_text()) if path.exists() else {}
    same = {key: stored.get(key) for key in header} == header
    stored = stored if same else {**header, "results": {}, "unsupported": {}}
    done = {**stored["results"], **stored["unsupported"]}
    calls = batches(model, options.subjects, options.batch)
    for name, score in measure(pipe, calls, list(methods(model, calls)), done):
        if isinstance(score, UnsupportedPipelineError):
            stored["unsupported"][name] = str(score)
            print(f"{name:48s} {score}", flush=True)
        else:
            stored["results"][name] = score
            speedup = f"{score['flops_speedup'] or 0:.2f}x"
            print(f"{name:48s} {score['psnr_mean']:6.2f} dB  {speedup}", flush=True)
        write(path, stored)
    path.with_suffix(".md").write_text(page(stored))


if __name__ == "__main__":
    main()
