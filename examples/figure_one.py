"""Figure 1 of the README: one subject plain, by the best of others and by tuned Z-Cache, at 3, 5 and 7 times less.

    python examples/quality_table.py --model mini-dit
    python examples/figure_one.py --model mini-dit

Nothing is chosen by eye. The others are those of examples/quality/<model>.json that are best at 5 times: one
feature cache, and one sampler with fewer steps. The subject is the one at which Z-Cache's gain over the better of
the two at 5 times is the median of all. Each method stands at the setting whose FLOPs are nearest. Writes
examples/quality/<model>.webp."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from quality_table import ALONE, FIRST_SEED, OURS, STEPS, TARGETS, at, methods, subjects

from zcache.evaluation.drawing import rounded
from zcache.evaluation.figures import canvas
from zcache.evaluation.method import Method
from zcache.evaluation.quality import draw, score
from zcache.models import loading

TUNED = f"{OURS}, tuned"
FEWER = "fewer steps, "
MIDDLE = TARGETS[len(TARGETS) // 2]


def families(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The settings of every family, each with its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, row in results.items():
        if row["flops_speedup"]:
            found.setdefault(name.partition(" | ")[0], []).append(row | {"name": name})
    return found


def best(found: dict[str, list[dict[str, Any]]], names: list[str]) -> tuple[str, np.ndarray]:
    """The family that is best at the middle, and its dB there, picture by picture."""
    values = {name: at(found[name], MIDDLE) for name in names}
    name = max(names, key=lambda n: -np.inf if values[n] is None else values[n].mean())
    if values[name] is None:
        raise SystemExit(f"none of {', '.join(names)} reaches {MIDDLE} times fewer FLOPs")
    return name, values[name]


def nearest(points: list[dict[str, Any]], target: float) -> str:
    """The name of the setting whose FLOPs are nearest to so many times fewer."""
    return min(points, key=lambda point: abs(np.log(point["flops_speedup"] / target)))["name"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-dit")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "quality")
    options = parser.parse_args()

    stored = json.loads((options.out / f"{options.model}.json").read_text())
    found = families(stored["results"])
    others = [name for name in found if not name.startswith(OURS) and name != ALONE]
    cache, its = best(found, [name for name in others if not name.startswith(FEWER)])
    sampler, theirs = best(found, [name for name in others if name.startswith(FEWER)])
    gains = best(found, [TUNED])[1] - np.maximum(its, theirs)
    subject = int(np.argsort(gains)[len(gains) // 2])

    model, pipe = loading.find(options.model), loading.load(options.model)
    pipe.set_progress_bar_config(disable=True)
    argument, asked = subjects(model.kind, stored["subjects"])
    call = {**model.call, "num_inference_steps": STEPS, argument: [asked[subject]]}
    calls = [call | {"seeds": [FIRST_SEED + subject]}]
    known = {method.name: method for method in methods(model, calls)}
    plain = draw(pipe, calls, Method("uncached"))
    rows, captions = [], []
    for family in (cache, sampler, TUNED):
        shown, said = [rounded(plain.pictures[0])], ["plain"]
        for target in TARGETS:
            drawn = draw(pipe, calls, known[nearest(found[family], target)])
            one = score(plain, drawn)
            shown.append(rounded(drawn.pictures[0]))
            said.append(f"{one['flops_speedup']:.1f}×, {one['psnr_mean']:.1f} dB")
        rows.append((family.removeprefix(FEWER), shown))
        captions.append(said)
    titles = [f"{STEPS} steps", *(f"{target}× fewer FLOPs" for target in TARGETS)]
    figure = canvas.gallery(rows, titles, captions, side=1.9)
    figure.savefig(options.out / f"{options.model}.webp", dpi=110)
    print(f"{asked[subject]!r}: {gains[subject]:+.1f} dB at {MIDDLE} times; written")


if __name__ == "__main__":
    main()
