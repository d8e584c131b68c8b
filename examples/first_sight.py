"""Make the finished comparison that the page shows before anything was run:

    python examples/first_sight.py

Draws every class of mini-dit at a few intervals, takes the one where the base strategy alone is
furthest from the plain picture while Z-Cache cannot be told from it, and writes three WebP pictures
and the report to zcache/app/first_sight. Needs about two minutes and a quiet machine for its times."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from zcache.measure import compare, files, verdict
from zcache.measure.generation import Comparison
from zcache.measure.summary import with_flops
from zcache.models import loading
from zcache.models.request import APP

MODEL, INTERVALS = "mini-dit", (8, 10, 12)
REPEATS = 3  # of the chosen comparison: the one of median speedup is kept
CLASSES = 24  # at most, evenly spread
KEPT = (verdict.IDENTICAL, verdict.SAME)


def drawn(pipe: Any, label: str, interval: int, plain: Any = None) -> Comparison:
    """Return one comparison with its base alone."""
    model = loading.find(MODEL)
    request = loading.asked(model, APP, label=label, interval=interval)
    call = loading.call_arguments(model, request)
    *_, made = compare.stages(pipe, call, request.config(), 0, baseline=plain, alone=True)
    assert isinstance(made, Comparison)
    report = with_flops(made.report, model, request)
    named = {"subject": label, "example_model": MODEL, "verdict": verdict.of(report)}
    return replace(made, report=report | named)


def candidates(pipe: Any) -> Iterator[tuple[float, str, int]]:
    """Yield (dB by which Z-Cache is nearer, class, interval) of each example worth showing."""
    names = list(loading.labels(loading.find(MODEL)))
    for label in names[:: -(-len(names) // CLASSES)]:
        plain = None
        for interval in INTERVALS:
            made = drawn(pipe, label, interval, plain)
            plain, report = made.baseline, made.report
            alone = report["base_alone"]
            if report["verdict"]["level"] in KEPT and verdict.level(alone) == verdict.OTHER:
                gap = (report["psnr"] or 100.0) - alone["psnr"]
                print(f"{label}, N = {interval}: {gap:.1f} dB", flush=True)
                yield gap, label, interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("zcache/app/first_sight"))
    out = parser.parse_args().out
    pipe = loading.load(MODEL)
    pipe.set_progress_bar_config(disable=True)
    found = list(candidates(pipe))
    if not found:
        raise SystemExit("no example: at none of these intervals does only the base alone break")
    _, label, interval = max(found)
    repeats = [drawn(pipe, label, interval) for _ in range(REPEATS)]
    made = sorted(repeats, key=lambda one: one.report["speedup"])[REPEATS // 2]
    assert made.alone is not None
    out.mkdir(parents=True, exist_ok=True)
    sides = {"baseline": made.baseline, "base_alone": made.alone, "accelerated": made.accelerated}
    for side, run in sides.items():
        Image.fromarray(run.frames[0]).save(out / f"{side}.webp", lossless=True, method=6)
    files.write_json(made.report, out / "report.json")
    print(f"{label}, N = {interval}: written to {out}")


if __name__ == "__main__":
    main()
