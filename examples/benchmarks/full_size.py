"""Latency, FLOPs and memory of the paper's three models at full size, with random weights, on one GPU.

    python examples/benchmarks/full_size.py --out examples/benchmarks

Times and bytes are true though the pictures are noise. Text encoders are left out: embeddings are given.
Every method is timed side by side; then cached passes beside their floor, and bytes by granularity. `--tiny`
runs the same on the CPU with a few narrow layers, to see that everything works."""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from floor import ANCHORS, Floor
from overhead import run

from zcache import recommended
from zcache.evaluation import bench
from zcache.evaluation.rivals import lineup
from zcache.measure import flop_estimate, memory
from zcache.models import architectures

INTERVALS = {"flux-dev": (9, 7), "hunyuan-video": (5, 7), "dit-xl-2": (5, 7)}
TINY = {
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "axes_dims_rope": [4, 6, 6],
    "rope_axes_dim": [4, 6, 6],
    "num_refiner_layers": 1,
    "joint_attention_dim": 32,
    "text_embed_dim": 32,
    "pooled_projection_dim": 16,
}
TINY_SHAPE = {"height": 64, "width": 64}
# Layers of HunyuanVideo take 20 GB and another 10 in a pass: left out, as its per-layer peers are.
WITHOUT_LAYERS = "hunyuan-video"


@dataclass(frozen=True)
class Sized(architectures.Architecture):
    """An architecture with a configuration of its own."""

    own: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.own)


def sized(name: str, tiny: bool, dtype: torch.dtype) -> Sized:
    """The architecture of a name, or a tiny one of its kind."""
    known = architectures.find(name)
    config, shape = known.config, known.shape
    if tiny:
        config |= {key: value for key, value in TINY.items() if key in config}
        if "sample_size" not in config:  # DiT's latents have the size that it was trained with
            frames = min(shape.frames, 5)
            shape = architectures.Shape(**TINY_SHAPE, frames=frames, text_tokens=16)
    return Sized(**{**vars(known), "shape": shape, "dtype": dtype}, own=config)


def build(architecture: Sized, device: str) -> Any:
    """The pipeline with random weights."""
    config = architecture.config
    cls = getattr(diffusers, config.pop("_class_name"))
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(architecture.dtype)
        try:
            transformer = cls(**config).eval()
        finally:
            torch.set_default_dtype(torch.float32)
    encoders = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "vae"))
    if architecture.name == "dit-xl-2":
        vae = diffusers.AutoencoderKL(
            block_out_channels=(4,), norm_num_groups=2, latent_channels=4, layers_per_block=1
        )
        vae = vae.to(device, architecture.dtype).eval()
        scheduler = diffusers.DDIMScheduler(clip_sample=False)
        pipe = diffusers.DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler)
    elif architecture.name == "flux-dev":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        pipe = diffusers.FluxPipeline(transformer=transformer, scheduler=scheduler, **encoders)
    else:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
        pipe = diffusers.HunyuanVideoPipeline(
            transformer=transformer, scheduler=scheduler, **encoders
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def arguments(architecture: Sized, device: str, steps: int) -> dict[str, Any]:
    """The pipeline's call: embeddings instead of prompts, and the architecture's shape."""
    shape, config, name = architecture.shape, architecture.config, architecture.name
    if name == "dit-xl-2":
        # Its pipeline decodes whatever is asked for; the clock and the meter stop before.
        call = {"class_labels": [0], "guidance_scale": 1.5, "output_type": "np"}
        return {**call, "num_inference_steps": steps}
    place = {"device": device, "dtype": architecture.dtype}
    flux = name == "flux-dev"
    text = config["joint_attention_dim" if flux else "text_embed_dim"]
    call = {
        "prompt_embeds": torch.randn(1, shape.text_tokens, text, **place),
        "pooled_prompt_embeds": torch.randn(1, config["pooled_projection_dim"], **place),
        "height": shape.height,
        "width": shape.width,
        "num_inference_steps": steps,
        "guidance_scale": 3.5 if flux else 6.0,
        "output_type": "latent",
    }
    if not flux:
        call["prompt_attention_mask"] = torch.ones(1, shape.text_tokens, **place)
        call["num_frames"] = shape.frames
    return call


def costs(
    pipe: Any, call: dict[str, Any], architecture: Sized, interval: int, timed: dict[str, Any]
) -> list[dict[str, Any]]:
    """Cached passes beside their floor, and bytes, by granularity. `timed`: what `bench` found."""
    steps, by_name = call["num_inference_steps"], {row["name"]: row for row in timed["methods"]}
    plain = by_name[bench.UNCACHED]["seconds"]
    memory.measure(pipe, call)
    used_by_plain = memory.measure(pipe, call)
    rows = []
    for granularity in ("stack", "output", "module"):
        known = by_name.get(f"Z-Cache {granularity} N={interval}", {"error": "not timed"})
        if "error" in known:
            continue
        config = recommended(pipe, interval, granularity=granularity)
        _, passes, report = run(pipe, call, config)
        row = {"granularity": granularity, "interval": interval, "step_ms": 1000 * plain / steps}
        row |= {key: known[key] for key in ("speedup", "flops_speedup", "efficiency")}
        row |= {f"{kind}_ms": 1000 * statistics.median(passes[kind]) for kind in ANCHORS}
        if granularity != "module":
            floor = Floor(pipe, call, granularity)
            bare = {kind: min(floor.seconds(kind) for _ in range(3)) for kind in ANCHORS}
            seconds = sum(getattr(report, f"{kind}_passes") * bare[kind] for kind in ANCHORS)
            seconds += plain / steps * report.full_passes
            row |= {f"{kind}_floor_ms": 1000 * bare[kind] for kind in ANCHORS}
            row["efficiency_at_floor"] = plain / seconds / known["flops_speedup"]
        cost = flop_estimate.count(architecture, granularity, architecture.shape)
        row |= asdict(memory.measure(pipe, call, config).beyond(used_by_plain))
        row["estimated"] = flop_estimate.price(
            architecture.name, config, steps, cost, architecture.flow, guided=architecture.flow
        ).cache_bytes
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of `costs` as Markdown."""
    heads = (
        "granularity",
        "N",
        "step ms",
        "forecast ms (floor)",
        "reflect ms (floor)",
        "efficiency",
    )
    heads += ("at the floor", "MB held", "reported", "estimated", "peak")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["granularity"], str(row["interval"]), f"{row['step_ms']:.2f}"]
        for kind in ANCHORS:
            floor = row.get(f"{kind}_floor_ms")
            cells.append(f"{row[f'{kind}_ms']:.3f}" + (f" ({floor:.3f})" if floor else ""))
        cells.append(f"{row['efficiency']:.2f}")
        at_floor = row.get("efficiency_at_floor")
        cells.append(f"{at_floor:.2f}" if at_floor else "")
        cells += [f"{row[key] / 1e6:,.2f}" for key in ("held", "reported", "estimated", "peak")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(INTERVALS), choices=list(INTERVALS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("examples/benchmarks"))
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("full size needs a CUDA device; give --tiny to try the script on the CPU")
    device = "cpu" if options.tiny else "cuda"
    dtype = torch.float32 if options.tiny else torch.bfloat16

    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        architecture = sized(name, options.tiny, dtype)
        pipe, call = build(architecture, device), arguments(architecture, device, options.steps)
        layers = options.tiny or name != WITHOUT_LAYERS
        methods = []
        for interval in INTERVALS[name]:
            methods += lineup.ours(interval, modules=layers)
            if not options.no_peers:
                others = lineup.others(interval, options.steps)
                methods += [m for m in others if name != WITHOUT_LAYERS or "lite" in m.name]
        result = bench.bench(
            pipe, call, methods, options.repeats, told=lambda line: print(line, flush=True)
        )
        result["weights"] = "random"
        for row in result["methods"]:  # nothing is said of how alike noise is
            row.pop("psnr_mean", None)
            row.pop("ssim_mean", None)
        for interval in INTERVALS[name]:
            result.setdefault("costs", []).extend(costs(pipe, call, architecture, interval, result))
        tables = f"{bench.table(result)}\n\n{table(result['costs'])}\n"
        path = options.out / f"{name}{'-tiny' if options.tiny else ''}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(tables)
        print(tables, flush=True)
        del pipe, call
        if device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
