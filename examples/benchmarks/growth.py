"""What the clock keeps of the FLOPs ratio, against the size of the model: random weights, on the CPU.

    python examples/benchmarks/growth.py --cpu --out examples/benchmarks/growth.json

FLUX and DiT of growing width, depth and number of tokens, each with Z-Cache and a peer in one process. Times
and FLOPs are true though the pictures are noise."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import diffusers
import torch

from zcache.evaluation.figures.canvas import blank
from zcache.evaluation.method import Method
from zcache.evaluation.rivals import lineup
from zcache.measure.clock import LoopClock
from zcache.measure.flop_meter import FlopMeter

Built = tuple[Any, dict[str, Any]]

# Heads of 64 channels, layers, side of the square of tokens.
SIZES = ((2, 2, 8), (4, 3, 8), (6, 4, 12), (8, 6, 16), (12, 8, 16))
STEPS, INTERVAL = 15, 8
KEPT = 0.97
PEER = "diffusers TaylorSeer lite"


def flux(heads: int, layers: int, side: int) -> Built:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=layers // 2,
        num_single_layers=layers,
        attention_head_dim=64,
        num_attention_heads=heads,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(16, 24, 24),
    ).eval()
    encoders = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "vae"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = diffusers.FluxPipeline(transformer=transformer, scheduler=scheduler, **encoders)
    call = {
        "prompt_embeds": torch.randn(1, 16, 64),
        "pooled_prompt_embeds": torch.randn(1, 64),
        "height": 16 * side,
        "width": 16 * side,
        "guidance_scale": 3.5,
        "output_type": "latent",
    }
    return pipe, call


def dit(heads: int, layers: int, side: int) -> Built:
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=2 * side,
        num_layers=layers,
        patch_size=2,
        attention_head_dim=64,
        num_attention_heads=heads,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    ).eval()
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4,), norm_num_groups=2, latent_channels=4, layers_per_block=1
    ).eval()
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    pipe = diffusers.DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler)
    return pipe, {"class_labels": [0], "guidance_scale": 4.0, "output_type": "np"}


FAMILIES: dict[str, Callable[[int, int, int], Built]] = {"FLUX": flux, "DiT": dit}


def once(pipe: Any, call: dict[str, Any], method: Method, meter: Any = None) -> float:
    """Seconds of the loop; FLOPs go into the meter."""
    generator = torch.Generator().manual_seed(0)
    with method.apply(pipe), meter or nullcontext(), LoopClock(pipe) as clock:
        pipe(**call, generator=generator)
    return clock.denoising


def flops(pipe: Any, call: dict[str, Any], method: Method) -> int:
    meter = FlopMeter(pipe)
    once(pipe, call, method, meter)
    return int(meter.total)


def measured(family: str, size: tuple[int, int, int], repeats: int) -> list[dict[str, Any]]:
    """A row per method on one model."""
    torch.manual_seed(0)
    pipe, call = FAMILIES[family](*size)
    pipe.set_progress_bar_config(disable=True)
    call["num_inference_steps"] = STEPS
    plain = Method("uncached")
    methods = lineup.ours(INTERVAL, modules=False)[:2]
    if family == "FLUX":
        methods += [m for m in lineup.others(INTERVAL, STEPS) if m.family == PEER]
    counts = {method.name: flops(pipe, call, method) for method in (plain, *methods)}
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        for method in (plain, *methods):
            seconds[method.name].append(once(pipe, call, method))
    least = min(seconds[plain.name])  # other programs only add
    about = {"model": family, "heads": size[0], "layers": size[1], "tokens": size[2] ** 2}
    about["weights"] = sum(p.numel() for p in pipe.transformer.parameters())
    about["step_ms"] = 1000 * least / STEPS
    rows = []
    for method in methods:
        speedup = least / min(seconds[method.name])
        limit = counts[plain.name] / counts[method.name]
        row = {"method": method.family, "speedup": speedup, "flops_speedup": limit}
        rows.append(about | row | {"efficiency": speedup / limit, "seconds": seconds[method.name]})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    heads = ("model", "weights", "tokens", "step ms", "method", "speedup", "by FLOPs", "efficiency")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["model"], f"{row['weights'] / 1e6:.1f} M", row["tokens"]]
        cells += [f"{row['step_ms']:.1f}", row["method"]]
        cells += [f"{row[key]:.2f}" for key in ("speedup", "flops_speedup", "efficiency")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]]) -> Any:
    """Efficiency over the time of a step, a curve per model and method."""
    figure, places = blank(7, 4)
    axes = places[0, 0]
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = f"{row['model']}, {row['method']}"
        curves.setdefault(name, []).append((row["step_ms"], row["efficiency"]))
    for name, points in curves.items():
        style = "--" if PEER in name else "-"
        axes.plot(*zip(*sorted(points), strict=True), style, marker="o", markersize=4, label=name)
    axes.axhline(KEPT, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("a full step, ms")
    axes.set_ylabel("measured speedup / speedup by FLOPs")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many, smallest first")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds of repeats of each size")
    parser.add_argument("--cpu", action="store_true", help="seconds of the CPU, on one thread")
    parser.add_argument("--out", type=Path, help="JSON; a table and a plot beside it")
    options = parser.parse_args()
    if options.cpu:  # other programs blur them less; LoopClock reads this clock, too
        torch.set_num_threads(1)
        time.perf_counter = time.thread_time
    rows: list[dict[str, Any]] = []
    for family in options.models:
        seconds = 0.01
        for size in SIZES[: options.sizes]:
            repeats = max(1, min(9, int(options.budget / (3 * STEPS * seconds))))
            found = measured(family, size, repeats)
            seconds = 3 * found[0]["step_ms"] / 1000  # of the next size, about
            rows += found
            print(table(found), flush=True)
    if options.out is not None:
        facts = {"steps": STEPS, "interval": INTERVAL, "cpu": options.cpu, "rows": rows}
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(table(rows) + "\n")
        plot(rows).savefig(options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
