"""Does reflection stand on every base? Each base alone and reflected on the same full steps, and peers at as many.

    python examples/study_bases.py --model mini-flux
    python examples/study_bases.py --model mini-dit --guidance 1.5
    python examples/study_bases.py --model FOLDER --name "another DiT" --guidance 1.5

All run with what `zcache.recommended` says for the sampler, the order being the base's own. Every run draws
the same subjects from the same seeds; a gain is the mean of the differences subject by subject, with its 95 %
interval.

Writes <out>/bases.json after every run (a stopped run goes on where it was) and <out>/bases.md."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from quality_table import STEPS, subjects, write

from zcache import ZCacheConfig
from zcache.errors import UnsupportedPipelineError
from zcache.evaluation import methods
from zcache.evaluation.method import Method
from zcache.evaluation.quality import Calls, measure
from zcache.evaluation.rivals import spectrum
from zcache.measure.metrics import interval95
from zcache.method.recommended import recommended
from zcache.models import loading

INTERVALS = (4, 6, 8)
BASES = (
    ("fora", 0),
    ("taylorseer", 1),
    ("taylorseer", 2),
    ("hicache", 2),
    ("foca", 1),
    ("spectrum", 1),
)  # with the order that their authors advise; orders that play no part are 0 or 1
ORDERED = ("taylorseer", "hicache")


def title(base: str, order: int) -> str:
    return f"{base}, order {order}" if base in ORDERED else base


def config(pipe: Any, interval: int, base: str, order: int, reflect: bool) -> ZCacheConfig:
    own = {"base": base, "order": order, "reflect": reflect}
    return recommended(pipe, interval, granularity="stack", **own)


def ours(pipe: Any) -> list[Method]:
    return [
        Method.zcache(
            f"{title(base, order)} | N={interval} | {'reflected' if reflect else 'alone'}",
            config(pipe, interval, base, order, reflect),
        )
        for interval in INTERVALS
        for base, order in BASES
        for reflect in (False, True)
    ]


def peers(pipe: Any, calls: Calls) -> list[Method]:
    """Others at as many full steps as ours have at an interval."""

    def draw(pipe: Any) -> Any:
        first = {key: value for key, value in calls[0].items() if key != "seeds"}
        generators = [torch.Generator("cpu").manual_seed(1000 + seed) for seed in calls[0]["seeds"]]
        return pipe(**first, generator=generators, output_type="np")

    found = []
    for interval in INTERVALS:
        count = len(config(pipe, interval, "taylorseer", 1, True).plan(STEPS).full_steps)
        names = {
            "DPM-Solver++, fewer steps": f"dpm:{count}",
            "DPCache": f"dpcache:{count}",
        }
        if count > spectrum.WARMUP:
            flex = spectrum.matched(STEPS, count)
            names["Spectrum as published"] = f"spectrum:2,flex={flex:g}"
            names["Spectrum, lambda 0.001"] = f"spectrum:2,flex={flex:g},ridge=0.001"
        for name, text in names.items():
            method = methods.parse(text, STEPS, draw)
            found.append(Method(f"{name} | N={interval} | peer", method.apply, method.call))
    return found


def requests(pipe: Any, model: loading.Model, count: int, guidance: float | None) -> Calls:
    argument, asked = subjects(model.kind, count)
    if model.kind == "class":
        asked = [index % len(pipe.labels) for index in range(count)]
    call = {
        **model.call,
        "num_inference_steps": STEPS,
        argument: asked,
        "seeds": list(range(count)),
    }
    return [call if guidance is None else {**call, "guidance_scale": guidance}]


def gain(results: dict[str, Any], base: str, interval: int) -> tuple[float, float]:
    """Reflected minus alone: the mean of the differences, and half its 95 % interval."""
    reflected, alone = (
        results[f"{base} | N={interval} | {k}"]["psnr"] for k in ("reflected", "alone")
    )
    difference = np.subtract(reflected, alone)
    return float(difference.mean()), interval95(list(difference))


def table(results: dict[str, Any]) -> str:
    """Markdown: a row per base, for each interval alone, reflected and the gain; then the peers."""
    heads = [f"N={n} alone | reflected | gain" for n in INTERVALS]
    lines = [f"| base | {' | '.join(heads)} |", "|---|" + "---|" * 3 * len(INTERVALS)]
    for base, order in BASES:
        name, cells = title(base, order), []
        for n in INTERVALS:
            scores = [results[f"{name} | N={n} | {k}"] for k in ("alone", "reflected")]
            mean, half = gain(results, name, n)
            text = f"{mean:+.1f} ± {half:.1f}"
            text = f"**{text}**" if mean - half > 0 else f"*{text}*" if mean + half < 0 else text
            cells += [*(f"{score['psnr_mean']:.1f}" for score in scores), text]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    others = dict.fromkeys(key.split(" | ")[0] for key in results if key.endswith("peer"))
    heads = [f"N={n} | fewer FLOPs" for n in INTERVALS]
    lines += ["", f"| at as many full steps | {' | '.join(heads)} |"]
    lines.append("|---|" + "---|" * 2 * len(INTERVALS))
    for name in others:
        cells = []
        for n in INTERVALS:
            score = results.get(f"{name} | N={n} | peer")
            cells += (
                [f"{score['psnr_mean']:.1f}", f"{score['flops_speedup']:.1f}×"]
                if score
                else ["", ""]
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(stored: dict[str, Any]) -> str:
    parts = [
        "# Reflection on every base\n\nPSNR in dB to the uncached output, of each base alone and with reflection on "
        "the same full steps; the gain is the mean of the differences picture by "
        "picture with its 95 % interval, bold where it lies above zero, in italics where below. Made by "
        "[study_bases.py](../study_bases.py); what follows from it is in [README.md](README.md)."
    ]
    for name, part in sorted(stored.items(), key=lambda item: ("earlier" in item[0], item[0])):
        guidance = "" if part["guidance"] is None else f", guidance {part['guidance']:g}"
        parts.append(
            f"## {name}\n\n{part['subjects']} subjects, {part['steps']} steps{guidance}, {part['scheduler']}, "
            f"{part['device']}, {part['dtype']}, torch {part['torch']}, diffusers {part['diffusers']}.\n\n"
            f"{table(part['results'])}"
        )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux", help="known name or pipeline folder")
    parser.add_argument("--name", help="what it is called on the page (default: the model's)")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("examples/study"))
    options = parser.parse_args()

    model = loading.find(options.model)
    pipe = loading.load(options.model)
    pipe.set_progress_bar_config(disable=True)
    path = options.out / "bases.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    name = options.name or options.model
    if options.guidance is not None:
        name = f"{name}, guidance {options.guidance:g}"
    header = {
        "guidance": options.guidance,
        "steps": STEPS,
        "subjects": options.subjects,
        "scheduler": type(pipe.scheduler).__name__,
        "device": f"{platform.machine()} CPU" if pipe.device.type == "cpu" else str(pipe.device),
        "dtype": str(pipe.transformer.dtype),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    part = stored.get(name, {})
    if {key: part.get(key) for key in header} != header:
        part = {**header, "results": {}}
    stored[name] = part
    calls = requests(pipe, model, options.subjects, options.guidance)
    for key, score in measure(pipe, calls, [*ours(pipe), *peers(pipe, calls)], part["results"]):
        if isinstance(score, UnsupportedPipelineError):
            print(f"{key:44s} {score}", flush=True)
            continue
        part["results"][key] = score
        print(f"{key:44s} {score['psnr_mean']:6.2f} dB  {score['flops_speedup']:.2f}x", flush=True)
        write(path, stored)
    path.with_suffix(".md").write_text(page(stored))


if __name__ == "__main__":
    main()
