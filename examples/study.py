"""Settle the defaults: one setting moved at a time, at equal full steps, with 95 % intervals.

    python examples/study.py --model mini-flux --subjects 16

Every variant draws the same subjects from the same seeds with the same number of full steps, that of
the paper's schedule at N = 4, 5, 7 and 10. A difference is taken subject by subject (PSNR in dB to the
uncached output, minus that of the reference variant), and its interval is of the mean of these.

Writes <out>/<model>.json after every variant (a stopped run goes on where it was) and <out>/<model>.md."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from quality_table import STEPS, batches, write

from zcache import ZCacheConfig
from zcache.evaluation.method import Method
from zcache.evaluation.quality import measure
from zcache.measure.metrics import interval95
from zcache.method import bases, weights
from zcache.models import loading

PAPER_INTERVALS = (4, 5, 7, 10)
REFERENCE = "even"  # the default settings
POWERS = (0.85, 1.15, 1.3, 1.5)


def stretched(count: int, power: float = 1.0) -> tuple[int, ...]:
    """`count` full steps from the first to the last; a power above 1 crowds them at the start."""
    last = STEPS - 1
    steps: list[int] = []
    for i in range(count):
        wanted = round(last * (i / (count - 1)) ** power)
        steps.append(max(wanted, steps[-1] + 1) if steps else 0)
    return tuple(steps)


def variants(paper_interval: int) -> Iterator[tuple[str, ZCacheConfig]]:
    """Names and settings, all with as many full steps as the paper's schedule at this interval."""
    paper = ZCacheConfig.paper(paper_interval).plan(STEPS).full_steps
    count = len(paper)
    even = ZCacheConfig(full_steps=stretched(count))
    yield REFERENCE, even
    yield "the paper", ZCacheConfig(full_steps=paper, relax=None)
    yield "the paper, module", ZCacheConfig(full_steps=paper, relax=None, granularity="module")
    yield "the paper, without reflection", ZCacheConfig(full_steps=paper, reflect=False)
    yield "schedule: the paper's", even.replace(full_steps=paper)
    yield "schedule: step 1 full too", even.replace(full_steps=(0, *_shifted(count)))
    for power in POWERS:
        moved = even.replace(full_steps=stretched(count, power))
        yield f"schedule: power {power}", moved
        yield f"schedule: power {power}, without reflection", moved.replace(reflect=False)
    yield "schedule: last step not forced", even.replace(full_steps=_open(count))
    yield "without reflection", even.replace(reflect=False)
    yield "first window not reflected", even.replace(first_window=False)
    yield "last window not reflected", even.replace(last_window=False)
    for relax in (None, "sigma", 0.6, 0.7, 0.9):
        yield f"relax: {relax}", even.replace(relax=relax)
    for weight in weights.names():
        if weight != even.weight:
            yield f"weight: {weight}, unrelaxed", even.replace(weight=weight, relax=None)
            yield f"weight: {weight}", even.replace(weight=weight)
    for order in (0, 2, 3):
        yield f"order: {order}", even.replace(order=order)
    for base in bases.names():
        if base != even.base:
            yield f"base: {base}", even.replace(base=base)
    for granularity in ("module", "output"):
        for relax in (even.relax, None):
            form = even.replace(granularity=granularity, relax=relax)
            yield f"granularity: {granularity}, relax {relax}", form
    yield from combinations(even, even.replace(full_steps=_open(count)))


def combinations(even: ZCacheConfig, tail: ZCacheConfig) -> Iterator[tuple[str, ZCacheConfig]]:
    """What gained alone, together; `tail` ends on forecasts."""
    for granularity in ("stack", "module", "output"):
        for order in (1, 2):
            for schedule, config in (("last forced", even), ("last not forced", tail)):
                moved = (granularity != "stack") + (order != 1) + (config is tail)
                for relax in (even.relax, None):
                    if moved + (relax is None) > 1:
                        form = config.replace(granularity=granularity, order=order, relax=relax)
                        yield f"{granularity}, order {order}, {schedule}, relax {relax}", form


def _shifted(count: int) -> tuple[int, ...]:
    return tuple(1 + round(i * (STEPS - 2) / (count - 2)) for i in range(count - 1))


def _open(count: int) -> tuple[int, ...]:
    """As if one more full step stood behind the last step."""
    return tuple(round(i * STEPS / count) for i in range(count))


def methods(paper_intervals: list[int]) -> list[Method]:
    return [
        Method.zcache(f"{name} | K={len(config.full_steps or ())}", config)
        for paper_interval in paper_intervals
        for name, config in variants(paper_interval)
    ]


def table(results: dict[str, Any]) -> str:
    """Markdown: a row per variant, a column per number of full steps; the reference in dB, the others
    as differences from it."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for key, score in results.items():
        name, _, count = key.rpartition(" | K=")
        rows.setdefault(name, {})[int(count)] = score
    reference = rows[REFERENCE]
    counts = sorted(reference, reverse=True)
    heads = (f"{k} full ({reference[k]['flops_speedup']:.1f}×)" for k in counts)
    lines = ["| variant | " + " | ".join(heads) + " |", "|---|" + "---|" * len(counts)]
    cells = (
        f"{reference[k]['psnr_mean']:.1f} ± {reference[k]['psnr_interval']:.1f} dB" for k in counts
    )
    lines.append(f"| {REFERENCE} (the defaults) | " + " | ".join(cells) + " |")
    for name, row in rows.items():
        if name != REFERENCE:
            cells = (_difference(row.get(k), reference[k]) for k in counts)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _difference(score: dict[str, Any] | None, reference: dict[str, Any]) -> str:
    if score is None:
        return ""
    by_subject = np.subtract(score["psnr"], reference["psnr"])
    mean, half = float(by_subject.mean()), interval95(list(by_subject))
    text = f"{mean:+.1f} ± {half:.1f}"
    return f"**{text}**" if mean - half > 0 else text


def page(stored: dict[str, Any]) -> str:
    return (
        f"`{stored['model']}`, {stored['subjects']} subjects, {stored['steps']} steps, "
        f"{stored['device']}, {stored['dtype']}, torch {stored['torch']}, diffusers "
        f"{stored['diffusers']}. PSNR in dB to the uncached output; rows below the first are differences "
        "from it at the same number of full steps, mean over the subjects with the 95 % interval of "
        "that mean, in bold where the interval lies above zero.\n\n"
        f"{table(stored['results'])}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux")
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--paper-intervals", type=int, nargs="+", default=list(PAPER_INTERVALS))
    parser.add_argument("--out", type=Path, default=Path("examples/study"))
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
    if {key: stored.get(key) for key in header} != header:
        stored = {**header, "results": {}}
    calls = batches(model, options.subjects, options.batch)
    for name, score in measure(pipe, calls, methods(options.paper_intervals), stored["results"]):
        stored["results"][name] = score
        print(f"{name:48s} {score['psnr_mean']:6.2f} dB  {score['flops_speedup']:.2f}x", flush=True)
        write(path, stored)
    path.with_suffix(".md").write_text(page(stored))


if __name__ == "__main__":
    main()
