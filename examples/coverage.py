"""Write the coverage page: every family at every granularity, judged as the tests judge it.

    python examples/coverage.py --out examples/coverage

Tiny random pipelines of the real classes on the CPU, about a minute. Writes <out>/README.md; needs the
repository's tests beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.caching.families.everything import FAMILIES, pipeline  # noqa: E402
from tests.caching.families.family import STEPS, Family, denoisers  # noqa: E402
from tests.caching.families.judge import INTERVAL, LIMIT, judge  # noqa: E402
from zcache.caching import adapters  # noqa: E402
from zcache.method import teacache  # noqa: E402

GRANULARITIES = ("output", "stack", "module")
WORDS = {
    "right": "every window reflected, and the run ends where the recorded oracle does",
    "in part": "cached and right, but windows are left as forecast; the report says why",
    "first order": "guidance is not linear; reflected to first order, and the report says so",
    "in full": "nothing is cached; the report says why",
    "wrong": "off the oracle, and the report does not say so",
    "-": "not offered",
}


def row(family: Family) -> dict[str, Any]:
    """One family's verdicts, and everything its reports said."""
    pipe = pipeline(family.name)
    offered = family.granularities(pipe)
    found = {granularity: judge(family, pipe, granularity) for granularity in offered}
    said = [reason for judgement in found.values() for reason in judgement.report.fallbacks]
    sound = all(
        j.identical and j.restored and j.repeated and j.computed == j.report.full_computations
        for j in found.values()
    )
    return {
        "family": family.name,
        "pipeline": next(
            c for c in type(pipe).__mro__ if c.__module__.startswith("diffusers")
        ).__name__,
        "transformer": type(denoisers(pipe)[0]).__name__,
        "sampler": type(pipe.scheduler).__name__.removesuffix("Scheduler"),
        "verdicts": {g: found[g].word if g in found else "-" for g in GRANULARITIES},
        "sound": sound,
        "w0": max(j.w0 for j in found.values()),
        "oracle": max(j.oracle for j in found.values()),
        "said": sorted({reason.split(" (")[0] for reason in said}),
    }


def verdicts_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| family | pipeline | sampler | output | stack | module | w0 law | oracle | the report says |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        words = " | ".join(r["verdicts"][g] for g in GRANULARITIES)
        lines.append(
            f"| {r['family']} | {r['pipeline']} | {r['sampler']} | {words} | {r['w0']:.0e} | "
            f"{r['oracle']:.0e} | {'; '.join(r['said'])} |"
        )
    return "\n".join(lines)


def classes_table() -> str:
    """What is known of each described transformer, from its one description."""
    lines = [
        "| transformer | granularities | guidance of its pipelines | TeaCache: model, published thresholds |",
        "|---|---|---|---|",
    ]
    for name in sorted(adapters.names()):
        adapter = adapters.described(name)
        models = [m for m in teacache.COEFFICIENTS if m.split(" ")[0] == name]
        published = "; ".join(
            f"{m.partition(' ')[2].strip('()') or 'all'}: "
            f"{', '.join(map(str, teacache.THRESHOLDS[m]))}"
            for m in models
        )
        signal = published or ("identity" if adapter.signal is not None else "")
        why = f" ({adapter.no_module})" if adapter.no_module else ""
        lines.append(
            f"| {name} | {', '.join(adapter.granularities)}{why} | {adapter.guidance} | {signal} |"
        )
    return "\n".join(lines)


def page(rows: list[dict[str, Any]]) -> str:
    right = {
        g: sum(r["verdicts"][g] in ("right", "in part", "first order") for r in rows)
        for g in GRANULARITIES
    }
    classes, pipelines = (len({r[kind] for r in rows}) for kind in ("transformer", "pipeline"))
    words = "\n".join(f"- **{word}**: {meaning}." for word, meaning in WORDS.items())
    return f"""# Coverage: pipelines and granularities

Written by `python examples/coverage.py` (torch {torch.__version__.split("+")[0]}, diffusers
{diffusers.__version__}); do not edit. Every row is a real pipeline class with a tiny random transformer,
{STEPS} steps, interval {INTERVAL}. {len(rows)} settings of {pipelines} pipelines and {classes} transformer classes;
cached and not wrong in silence: {right["output"]} at `output`, {right["stack"]} at `stack`, {right["module"]} at
`module`. Random weights say nothing about quality; [quality](../quality) does.

For every row: interval 1 is bit-identical to the plain pipeline, disable is exact, a second run equals the first,
and full computations counted by hooks are those reported. *w0 law*: base `fora`, weight 0, reflection on against
off. *Oracle*: the anchors recorded by hooks, forecast and blend by hand, played through the plain pipeline.
Figures are the largest difference at any granularity, relative to the largest value where that is above 1; the
limit is {LIMIT:.0e}.

{words}

{verdicts_table(rows)}

## What is known of each transformer

Any other denoiser is cached at `output`. TeaCache's coefficients stand in
[teacache.py](../../zcache/method/teacache.py) with their source.

{classes_table()}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("examples/coverage"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for family in FAMILIES:
        rows.append(row(family))
        print(f"{family.name}: {rows[-1]['verdicts']}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "README.md").write_text(page(rows), encoding="utf-8")
    if not all(r["sound"] for r in rows):
        sys.exit("a basic law fails: " + ", ".join(r["family"] for r in rows if not r["sound"]))


if __name__ == "__main__":
    main()
