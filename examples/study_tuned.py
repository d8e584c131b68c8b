"""Profiles of `tune` against every untuned setting, at equal full steps, on subjects that no tuning has seen.

    python examples/study_tuned.py --model mini-dit
    python examples/study_tuned.py --model mini-dit --subjects 16 --overfitting 1 2 4 8

The first compares zcache/data/profiles/<model>.json with the defaults, the paper's settings and others that
were once best on one of the embedded models. The second tunes on so many prompts each time, and judges on
the same other subjects. Writes <out>/tuned-<model>.json and .md, or overfitting-<model>.json and .md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from quality_table import STEPS, subjects, write

import zcache
from zcache import Profile, ZCacheConfig
from zcache.caching.times import flow_of
from zcache.evaluation.method import Method
from zcache.evaluation.prompts import JUDGED
from zcache.evaluation.quality import measure
from zcache.measure.metrics import interval95
from zcache.method.candidates import untuned
from zcache.models import loading, profiles

COUNTS = (13, 10, 8)
FIRST_SEED = 5000
EFFORT = 200  # uncached runs for each tuning on few prompts
PAPER = {"weight": "logarithmic", "relax": None}
# What was best in some row of some table, beside the defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "as in the paper": PAPER,
    "logarithmic, 0.8": {"weight": "logarithmic", "relax": 0.8},
    "order 2, as in the paper": {"order": 2, **PAPER},
    "order 2, the defaults": {"order": 2},
    "output granularity": {"granularity": "output"},
    "output granularity, as in the paper": {"granularity": "output", **PAPER},
}
BASE_ALONE = "no reflection"


def untuned_methods(times: list[float]) -> list[Method]:
    """Every setting at every rule for the full steps, the paper's where an interval gives their number."""
    methods = []
    for count in COUNTS:
        for number, steps in enumerate(untuned(STEPS, count, times)):
            for name, own in {**SETTINGS, BASE_ALONE: {"reflect": False}}.items():
                config = ZCacheConfig(full_steps=steps, **own)
                methods.append(Method.zcache(f"{count}: {name}, placement {number}", config))
    return methods


def calls(model: Any, count: int, batch: int) -> list[dict[str, Any]]:
    argument, asked = subjects(model.kind, 2 * count)
    asked = asked[count:]  # a tuning's own come first
    return [
        {
            **model.call,
            "num_inference_steps": STEPS,
            argument: asked[i : i + batch],
            "seeds": [FIRST_SEED + row for row in range(i, min(i + batch, count))],
        }
        for i in range(0, count, batch)
    ]


def compared(results: dict[str, Any]) -> str:
    """Markdown: the profile, the best untuned setting, the defaults and the base alone, in dB; the best is picked
    afterwards on the subjects themselves, in the last column on half of them for the other half."""
    lines = [
        "| full steps | the profile | best untuned | the defaults | no reflection | tuned - best | "
        "tuned - best of the other half |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in COUNTS:
        rows = {n.partition(": ")[2]: r for n, r in results.items() if n.startswith(f"{count}: ")}
        tuned = rows.pop("tuned")
        reflected = {n: r for n, r in rows.items() if not n.startswith(BASE_ALONE)}
        name = max(reflected, key=lambda n: reflected[n]["psnr_mean"])
        gains = np.subtract(tuned["psnr"], rows[name]["psnr"])
        unseen = np.subtract(
            tuned["psnr"], picked_by_halves([r["psnr"] for r in reflected.values()])
        )
        cells = (
            tuned["psnr_mean"],
            rows["the defaults, placement 0"]["psnr_mean"],
            max(r["psnr_mean"] for n, r in rows.items() if n.startswith(BASE_ALONE)),
        )
        ours, default, alone = (f"{cell:.1f}" for cell in cells)
        lines.append(
            f"| {count} | **{ours}** | {rows[name]['psnr_mean']:.1f} ({name}) | {default} | {alone} | "
            f"{gains.mean():+.1f} ± {interval95(gains) or 0:.1f} | "
            f"{unseen.mean():+.1f} ± {interval95(unseen) or 0:.1f} |"
        )
    return "\n".join([*lines, ""])


def picked_by_halves(settings: list[list[float]]) -> np.ndarray:
    """dB of the subjects, of either half by the setting that is the best on the other."""
    scores = np.array(settings)  # (settings, subjects)
    half = scores.shape[1] // 2
    first, second = scores[:, :half], scores[:, half:]
    chosen = second.mean(axis=1).argmax(), first.mean(axis=1).argmax()
    return np.concatenate([first[chosen[0]], second[chosen[1]]])


def overfitted(results: dict[str, Any]) -> str:
    """Markdown: dB on subjects that no tuning has seen, by the number of prompts tuned on, and what that gains over
    the untuned settings, with its interval over the subjects."""
    lines = ["| prompts | " + " | ".join(f"{c} full steps" for c in COUNTS) + " |"]
    lines.append("|---|" + "---|" * len(COUNTS))
    rows = sorted({int(name.partition(": ")[2]) for name in results})
    for prompts in rows:
        cells = []
        for count in COUNTS:
            row, untuned_row = results[f"{count}: {prompts}"], results[f"{count}: 0"]
            gains = np.subtract(row["psnr"], untuned_row["psnr"])
            gain = f" ({gains.mean():+.1f} ± {interval95(gains) or 0:.1f})" if gains.any() else ""
            cells.append(f"{row['psnr_mean']:.1f}{gain}")
        lines.append(f"| {prompts or 'untuned'} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-flux")
    parser.add_argument("--subjects", type=int, default=JUDGED // 2, help=f"at most {JUDGED // 2}")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--overfitting", type=int, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "study")
    args = parser.parse_args()
    if 2 * args.subjects > JUDGED:
        parser.error(f"{args.subjects} subjects are more than the {JUDGED // 2} that `tune` leaves")
    model, pipe = loading.find(args.model), loading.load(args.model, "cpu")
    pipe.set_progress_bar_config(disable=True)
    judged = calls(model, args.subjects, args.batch)
    few = {k: v[:1] if isinstance(v, list) else v for k, v in judged[0].items() if k != "seeds"}
    pipe(**{**few, "output_type": "latent"})  # so that the scheduler knows its times
    times = flow_of(pipe.scheduler)
    if args.overfitting:
        name, show = f"overfitting-{args.model}", overfitted
        methods = [
            Method.zcache(f"{count}: 0", ZCacheConfig(full_steps=untuned(STEPS, count, times)[0]))
            for count in COUNTS
        ]
        _, asked = subjects(model.kind, args.subjects)
        call = {**model.call, "num_inference_steps": STEPS}
        for prompts in args.overfitting:
            profile = zcache.tune(
                pipe,
                asked[:prompts],
                held_out=asked[-1:],
                budgets=COUNTS,
                effort=EFFORT,
                batch=4,
                **call,
            )
            methods += _of(profile, str(prompts))
    else:
        name, show = f"tuned-{args.model}", compared
        found = profiles.of(model)
        assert found is not None, f"zcache/data/profiles has none of {model.name}"
        methods = _of(found, "tuned") + untuned_methods(times)
    path = args.out / f"{name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for method, score in measure(pipe, judged, methods, results):
        results[method] = score
        write(path, results)
        print(f"{method:50s} {score['psnr_mean']:6.2f} dB", flush=True)
    path.with_suffix(".md").write_text(show(results))


def _of(profile: Profile, name: str) -> list[Method]:
    return [Method.zcache(f"{count}: {name}", profile.config(count)) for count in COUNTS]


if __name__ == "__main__":
    main()
