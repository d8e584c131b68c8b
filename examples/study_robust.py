"""The defaults against the same full steps without reflection, over models, guidance, shifts, steps, samplers.

    python examples/study_robust.py --subjects 16
    python examples/study_robust.py --model mini-dit --weights runs/dit/pipeline --name "another DiT"

Every setting is drawn uncached, and at every interval with the defaults and with `reflect=False`: PSNR in
dB to the uncached output, mean over the subjects, and the difference of the two. FLUX runs with shifts of
1, 3 and 7, embedded or true guidance; HunyuanVideo with the same shifts; DiT with guidance 1.5, 3 and 6.

Adds its rows to <out>/robust.json (a stopped run goes on where it was) and writes <out>/robust.md."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from quality_table import subjects

import zcache
from zcache import ZCacheConfig
from zcache.measure.metrics import psnr
from zcache.models import loading

INTERVALS = tuple(range(3, 13))
STEPS = (50, 28, 20)
SHIFTS = (3.0, 1.0, 7.0)
TRUE_GUIDANCE = 3.0
TOLERANCE_DB = 0.3
SOLVERS = {"DPM++": DPMSolverMultistepScheduler, "UniPC": UniPCMultistepScheduler}
World = tuple[str, Any, dict[str, Any]]  # words, scheduler, arguments of the call


def worlds(kind: str, scheduler: Any, count: int) -> Iterator[World]:
    """What a model is drawn with, in the order of how usual it is."""
    argument, asked = subjects(kind, count)
    if kind == "class":
        for steps, (name, made), guidance in itertools.product(
            STEPS, diffusion_solvers(scheduler), (1.5, 3.0, 6.0)
        ):
            call = {argument: asked, "num_inference_steps": steps, "guidance_scale": guidance}
            yield f"{name}, {steps} steps, guidance {guidance:g}", made, call
        return
    scales = (None, TRUE_GUIDANCE) if kind == "image" else (None,)
    for steps, (name, made), scale in itertools.product(STEPS, flow_solvers(kind), scales):
        call = {argument: asked, "num_inference_steps": steps}
        if scale:
            call |= {"true_cfg_scale": scale, "negative_prompt": [""] * count}
            call["guidance_scale"] = 1.0  # of the embedded guidance, that the true one replaces
        guidance = f"true guidance {scale:g}" if scale else "embedded guidance"
        yield f"{name}, {steps} steps, {guidance}", made, call


def flow_solvers(kind: str) -> Iterator[tuple[str, Any]]:
    """FluxPipeline tells a solver the logarithm of its shift, from the ends that its config names;
    HunyuanVideoPipeline runs no other solver than Euler's."""
    for shift in SHIFTS:
        yield f"Euler, shift {shift:g}", FlowMatchEulerDiscreteScheduler(shift=shift)
        for name, solver in SOLVERS.items() if kind == "image" else ():
            made = solver(
                prediction_type="flow_prediction",
                use_flow_sigmas=True,
                flow_shift=shift,
                use_dynamic_shifting=True,
                time_shift_type="exponential",
            )
            made.register_to_config(base_shift=math.log(shift), max_shift=math.log(shift))
            yield f"{name}, shift {shift:g}", made


def diffusion_solvers(scheduler: Any) -> Iterator[tuple[str, Any]]:
    yield "DDIM", scheduler
    for name, solver in SOLVERS.items():
        yield name, solver.from_config(scheduler.config)


def draw(pipe: Any, call: dict[str, Any], count: int) -> np.ndarray:
    """Pictures or clips (count, ...) in 0..255; the row is the seed."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(count)]
    output = pipe(**call, generator=generators, output_type="np")
    return 255 * (output.frames if hasattr(output, "frames") else output.images)


def rows(pipe: Any, call: dict[str, Any], count: int) -> list[dict[str, float]]:
    """One for every interval: `full` steps, `ours` and `alone` (without reflection) in dB."""
    plain = draw(pipe, call, count)
    found: list[dict[str, float]] = []
    for interval in INTERVALS:
        planned = len(ZCacheConfig(interval=interval).plan(call["num_inference_steps"]).full_steps)
        if found and found[-1]["full"] == planned:  # the same steps, so the same pictures
            found.append(found[-1] | {"interval": interval})
            continue
        row: dict[str, float] = {"interval": interval, "full": planned}
        for name, config in (
            ("ours", ZCacheConfig(interval=interval)),
            ("alone", ZCacheConfig(interval=interval, reflect=False)),
        ):
            with zcache.enabled(pipe, config):
                drawn = draw(pipe, call, count)
            scores = [psnr(a, b) for a, b in zip(plain, drawn, strict=True)]
            row[name] = round(float(np.mean(scores)), 2)
        found.append(row)
    return found


def distinct(found: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows of one setting without repeats: intervals that come to the same full steps are the same run."""
    return list({row["full"]: row for row in reversed(found)}.values())[::-1]


def table(settings: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: what the worst rows are, and a line for every setting."""
    flat = [(name, row) for name, found in settings.items() for row in distinct(found)]
    gains = np.array([row["ours"] - row["alone"] for _, row in flat])
    below = [(gain, name, row) for gain, (name, row) in zip(gains, flat, strict=True) if gain < 0]
    lines = [
        f"{len(flat)} rows of {len(settings)} settings, intervals {INTERVALS[0]} to {INTERVALS[-1]}, "
        "those with the same full steps once. "
        f"The defaults against the same full steps without reflection: {gains.mean():+.1f} dB in the mean, "
        f"{gains.min():+.1f} in the worst row, {gains.max():+.1f} in the best; below in {len(below)}, "
        f"by more than {TOLERANCE_DB} dB in {sum(gains < -TOLERANCE_DB)}.",
        "",
        "Lowest rows:",
        "",
        "| model, sampler | N | full steps | no reflection | defaults | |",
        "|---|---|---|---|---|---|",
    ]
    lowest = sorted(zip(gains, flat, strict=True), key=lambda pair: pair[0])[:12]
    lines += [
        f"| {name} | {row['interval']:.0f} | {row['full']:.0f} | {row['alone']:.1f} | {row['ours']:.1f} |"
        f" {gain:+.1f} |"
        for gain, (name, row) in lowest
    ]
    head = " | ".join(f"N={interval}" for interval in INTERVALS)
    lines += ["", "Defaults in dB, and in brackets what reflection adds:", ""]
    lines += [f"| model, sampler | {head} |", f"|---|{'---|' * len(INTERVALS)}"]
    for name, found in settings.items():
        cells = (f"{row['ours']:.1f} ({row['ours'] - row['alone']:+.1f})" for row in found)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", default=["mini-flux", "mini-hunyuan", "mini-dit"])
    parser.add_argument("--weights", type=Path, help="folder of other weights of this model")
    parser.add_argument("--name", help="what the rows of these weights are called")
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "study")
    args = parser.parse_args()
    path = args.out / "robust.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    for known in args.model:
        model = loading.find(known)
        pipe = loading.load(str(args.weights or known), "cpu")
        pipe.set_progress_bar_config(disable=True)
        for words, scheduler, call in worlds(model.kind, pipe.scheduler, args.subjects):
            name = f"{args.name or known}: {words}"
            if name in settings:
                continue
            pipe.scheduler = scheduler
            settings[name] = rows(pipe, {**model.call, **call}, args.subjects)
            path.write_text(json.dumps(settings, indent=1) + "\n")
            gains = [row["ours"] - row["alone"] for row in settings[name]]
            print(f"{name}: {min(gains):+.1f} to {max(gains):+.1f} dB", flush=True)
    (args.out / "robust.md").write_text(table(settings))


if __name__ == "__main__":
    main()
