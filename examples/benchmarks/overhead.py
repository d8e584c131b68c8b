"""What a cached pass costs beside what its arithmetic costs, and what that leaves of the FLOPs ratio.

    python examples/benchmarks/overhead.py --before ../earlier --out examples/benchmarks/overhead.json

The floor is the arithmetic of a cached pass in a loop of its own (floor.py): embedder, blend, head, guidance
and the scheduler's step, called bare. A pass is timed from its announcement to the next one, inside the unmodified
pipeline, so the parts of a run add up to the run. Everything is interleaved; earlier code, of another
checkout, is measured in turn with this one."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from floor import ANCHORS, Floor, now

from zcache import ZCacheConfig, enabled
from zcache.measure import environment
from zcache.measure.clock import LoopClock
from zcache.measure.flop_meter import FlopMeter
from zcache.models import loading

MODELS = ("mini-flux", "mini-dit")
GRANULARITIES = ("stack", "output")
Samples = dict[str, Any]


class Stamps:
    """When each pass was announced; afterwards, what each took."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, float]] = []

    def mark(self, step: int, kind: str, num_steps: int) -> None:
        self._marks.append((kind, now()))

    def passes(self) -> dict[str, list[float]]:
        """Seconds of forecast and of reflect passes that another cached pass follows."""
        found = defaultdict(list)
        for (kind, begin), (following, end) in zip(self._marks, self._marks[1:], strict=False):
            if kind == following != "full":
                found[kind].append(end - begin)
        return found


def run(pipe: Any, call: dict[str, Any], config: ZCacheConfig | None, meter: Any = None) -> Any:
    """Seconds of the loop, of its passes, and the report; FLOPs go into the meter."""
    generator, stamps = torch.Generator().manual_seed(0), Stamps()
    with ExitStack() as stack:
        handle = stack.enter_context(enabled(pipe, config)) if config is not None else None
        if handle is not None:
            handle.on_pass = stamps.mark
        if meter is not None:
            stack.enter_context(meter)
        with LoopClock(pipe) as clock:
            pipe(**call, generator=generator)
        return clock.denoising, stamps.passes(), handle.report() if handle is not None else None


def flops(pipe: Any, call: dict[str, Any], config: ZCacheConfig | None) -> int:
    meter = FlopMeter(pipe)
    run(pipe, call, config, meter)
    return int(meter.total)


def measure(name: str, interval: int, repeats: int) -> Samples:
    """Everything that was timed of one model, by granularity."""
    model = loading.find(name)
    pipe = loading.load(model, "cpu")
    pipe.set_progress_bar_config(disable=True)
    subject = {"label": next(iter(loading.labels(model)))} if model.kind == "class" else {}
    if model.kind != "class":
        subject["prompt"] = "a cat left of a cake on a dark striped background"
    request = loading.asked(model, steps=50, interval=interval, **subject)
    call = loading.call_arguments(model, request)
    base = request.config()
    configs = {g: base.replace(granularity=g) for g in GRANULARITIES}
    floors = {g: Floor(pipe, call, g) for g in GRANULARITIES}
    uncached = flops(pipe, call, None)
    found: Samples = {
        "environment": environment.describe(pipe),
        "steps": request.steps,
        "flops_speedup": {g: uncached / flops(pipe, call, configs[g]) for g in GRANULARITIES},
        "seconds": defaultdict(list),
        "passes": defaultdict(list),
        "floor": defaultdict(list),
        "counts": {},
    }
    for _ in range(repeats):
        found["seconds"]["uncached"].append(run(pipe, call, None)[0])
        for g, config in configs.items():
            took, passes, report = run(pipe, call, config)
            found["seconds"][g].append(took)
            found["counts"][g] = {k: getattr(report, f"{k}_passes") for k in ("full", *ANCHORS)}
            assert not report.fallbacks, report.fallbacks
            for kind in ANCHORS:
                found["passes"][f"{g} {kind}"] += passes[kind]
                found["floor"][f"{g} {kind}"].append(floors[g].seconds(kind))
    return found


def rows(name: str, interval: int, rounds: list[Samples]) -> list[dict[str, Any]]:
    """A row per granularity. Speedups are of one process each, and their median is told."""
    first = rounds[0]
    plain = quiet([x for found in rounds for x in found["seconds"]["uncached"]])
    made = []
    for g in GRANULARITIES:
        limit, counts = first["flops_speedup"][g], first["counts"][g]
        row = {"model": name, "granularity": g, "interval": interval}
        row["uncached_step_ms"] = 1000 * plain / first["steps"]
        for kind in ANCHORS:
            for key, told in (("passes", f"{kind}_ms"), ("floor", f"{kind}_floor_ms")):
                samples = [x for found in rounds for x in found[key][f"{g} {kind}"]]
                row[told] = 1000 * quiet(samples)
        seconds = [found["seconds"] for found in rounds]
        speedups = [quiet(each["uncached"]) / quiet(each[g]) for each in seconds]
        speedup = statistics.median(speedups)
        # What the run would take if every cached pass took its floor.
        full = plain / first["steps"] * counts["full"]
        bare = full + sum(counts[kind] * row[f"{kind}_floor_ms"] / 1000 for kind in ANCHORS)
        row |= {"speedup": speedup, "flops_speedup": limit, "efficiency": speedup / limit}
        row |= {"efficiency_at_floor": plain / bare / limit, "speedups": speedups}
        made.append(row | {"passes": counts, "seconds": [each[g] for each in seconds]})
    return made


def quiet(seconds: Sequence[float]) -> float:
    """The tenth part from below: what other work on the machine does only adds."""
    return sorted(seconds)[len(seconds) // 10]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    heads = ("code", "model", "granularity", "N", "step ms", "forecast ms (floor)")
    heads += ("reflect ms (floor)", "speedup", "by FLOPs", "efficiency", "at the floor")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row[key] for key in ("code", "model", "granularity", "interval")]
        cells.append(f"{row['uncached_step_ms']:.1f}")
        for kind in ANCHORS:
            cells.append(f"{row[f'{kind}_ms']:.3f} ({row[f'{kind}_floor_ms']:.3f})")
        numbers = ("speedup", "flops_speedup", "efficiency", "efficiency_at_floor")
        cells += [f"{row[key]:.2f}" for key in numbers]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def of_checkout(checkout: Path, options: argparse.Namespace) -> dict[str, Samples]:
    """What `measure` finds with the code of a checkout, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.json"
        command = [sys.executable, __file__, "--samples", out, "--models", *options.models]
        command += ["--interval", options.interval, "--repeats", options.repeats]
        command += ["--threads", options.threads, *(["--cpu"] if options.cpu else [])]
        paths = os.environ | {"PYTHONPATH": str(checkout)}
        subprocess.run(list(map(str, command)), env=paths, check=True)
        return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--interval", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="in each round")
    parser.add_argument("--rounds", type=int, default=4, help="each checkout is measured in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu", action="store_true", help="seconds of the CPU, on one thread")
    parser.add_argument("--before", type=Path, help="a checkout of earlier code to compare with")
    parser.add_argument("--out", type=Path, help="JSON, and a table beside it")
    parser.add_argument(
        "--samples", type=Path, help="only measure this code, and write what was timed"
    )
    options = parser.parse_args()
    if options.cpu:  # other programs blur them less; LoopClock reads this clock, too
        options.threads, time.perf_counter = 1, time.thread_time
    torch.set_num_threads(options.threads)
    if options.samples is not None:
        found = {name: measure(name, options.interval, options.repeats) for name in options.models}
        options.samples.write_text(json.dumps(found))
        return
    codes = {"after": Path(__file__).parents[2]}
    if options.before is not None:
        codes = {"before": options.before, **codes}
    found: dict[tuple[str, str], list[Samples]] = defaultdict(list)
    for _ in range(options.rounds):
        for code, checkout in codes.items():
            for name, samples in of_checkout(checkout, options).items():
                found[code, name].append(samples)
    made = []
    for (code, name), rounds in found.items():
        made += [{"code": code, **row} for row in rows(name, options.interval, rounds)]
    made.sort(key=lambda row: (MODELS.index(row["model"]), GRANULARITIES.index(row["granularity"])))
    if options.out is not None:
        where = next(iter(found.values()))[0]["environment"]
        facts = {"environment": where, "threads": options.threads, "cpu": options.cpu, "rows": made}
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(table(made) + "\n")
    print(table(made))


if __name__ == "__main__":
    main()
