"""What the cache holds, by granularity: measured, as the run reports it, and as it is estimated beforehand.

    python examples/benchmarks/memory.py --out examples/benchmarks/memory.json

Every figure is beyond the uncached run of the same process."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zcache.measure import environment, flop_table, memory
from zcache.method.config import GRANULARITIES
from zcache.models import loading

MODELS = ("mini-flux", "mini-hunyuan", "mini-dit")
SUBJECTS: dict[str, dict[str, Any]] = {
    "image": {"prompt": "a cat left of a cake on a dark striped background"},
    "video": {"prompt": "a small red circle moves right"},
}


def rows(name: str, steps: int, interval: int) -> Iterator[dict[str, Any]]:
    """A row per granularity of one model."""
    model = loading.find(name)
    pipe = loading.load(model)
    pipe.set_progress_bar_config(disable=True)
    subject = SUBJECTS.get(model.kind) or {"label": next(iter(loading.labels(model)))}
    plain = None
    for granularity in GRANULARITIES:
        request = loading.asked(
            model, steps=steps, interval=interval, granularity=granularity, **subject
        )
        call = loading.call_arguments(model, request)
        if plain is None:
            memory.measure(pipe, call)
            plain = memory.measure(pipe, call)
        used = memory.measure(pipe, call, request.config()).beyond(plain)
        estimate, cost = flop_table.of(model, request), flop_table.passes(model, request)
        if estimate is None or cost is None:
            raise SystemExit(f"{name} is not on this machine")
        yield {
            "model": name,
            "granularity": granularity,
            "anchor": cost.feature_bytes,
            **asdict(used),
            "estimated": estimate.cache_bytes,
            "environment": environment.describe(pipe),
        }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, in thousands of bytes."""
    heads = ("model", "granularity", "one anchor", "held", "reported", "estimated", "peak")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        figures = (row[key] for key in ("anchor", "held", "reported", "estimated", "peak"))
        cells = [row["model"], row["granularity"], *(f"{each / 1000:,.0f}" for each in figures)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--interval", type=int, default=8)
    parser.add_argument("--out", type=Path, help="JSON, and a table beside it")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    made = [row for name in options.models for row in rows(name, options.steps, options.interval)]
    if options.out is not None:
        facts = {"steps": options.steps, "interval": options.interval, "rows": made}
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(table(made) + "\n")
    print(table(made))


if __name__ == "__main__":
    main()
