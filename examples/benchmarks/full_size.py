"""Latency, FLOPs and memory of FLUX.1-dev and HunyuanVideo at full size, with random weights, on
one GPU.

    python examples/benchmarks/full_size.py --out examples/benchmarks

Times and bytes are true though the pictures are noise. Text encoders and VAE are left out:
embeddings are given. `--tiny` runs the same on the CPU with a few narrow layers, to see that
everything works."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from zcache.evaluation import bench
from zcache.evaluation.rivals import lineup
from zcache.models import architectures

INTERVALS = {"flux-dev": (9, 7), "hunyuan-video": (5, 7)}
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


def build(name: str, device: str, tiny: bool) -> tuple[Any, dict[str, Any]]:
    """The pipeline with random weights, and its call."""
    import diffusers

    architecture = architectures.find(name)
    config = architecture.config
    if tiny:
        config |= {key: value for key, value in TINY.items() if key in config}
    cls = getattr(diffusers, config.pop("_class_name"))
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(dtype)
        try:
            transformer = cls(**config).eval()
        finally:
            torch.set_default_dtype(torch.float32)
    encoders = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "vae"))
    flux = name == "flux-dev"
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        **({"shift": 3.0, "use_dynamic_shifting": True} if flux else {"shift": 7.0})
    )
    pipeline = diffusers.FluxPipeline if flux else diffusers.HunyuanVideoPipeline
    pipe = pipeline(transformer=transformer, scheduler=scheduler, **encoders)
    pipe.set_progress_bar_config(disable=True)
    return pipe, arguments(name, config, device, dtype, tiny)


def arguments(
    name: str, config: dict[str, Any], device: str, dtype: torch.dtype, tiny: bool
) -> dict[str, Any]:
    """Embeddings instead of prompts, and the paper's resolution."""
    shape = architectures.find(name).shape
    place = {"device": device, "dtype": dtype}
    flux = name == "flux-dev"
    text = config["joint_attention_dim" if flux else "text_embed_dim"]
    call = {
        "prompt_embeds": torch.randn(1, shape.text_tokens, text, **place),
        "pooled_prompt_embeds": torch.randn(1, config["pooled_projection_dim"], **place),
        "height": 64 if tiny else shape.height,
        "width": 64 if tiny else shape.width,
        "num_inference_steps": 50,
        "guidance_scale": 3.5 if flux else 6.0,
        "output_type": "latent",
    }
    if not flux:
        call["prompt_attention_mask"] = torch.ones(1, shape.text_tokens, **place)
        call["num_frames"] = 5 if tiny else shape.frames
    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(INTERVALS), choices=list(INTERVALS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("examples/benchmarks"))
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("full size needs a CUDA device; give --tiny to try the script on the CPU")
    device = "cpu" if options.tiny else "cuda"

    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        pipe, call = build(name, device, options.tiny)
        methods = []
        for interval in INTERVALS[name]:
            # HunyuanVideo's layers take 30 GB at order 1: left out, as its per-layer peers are.
            methods += lineup.ours(interval, modules=name == "flux-dev")
            if not options.no_peers:
                methods += [
                    m for m in lineup.others(interval, 50) if name == "flux-dev" or "lite" in m.name
                ]
        result = bench.bench(
            pipe, call, methods, options.repeats, told=lambda line: print(line, flush=True)
        )
        result["weights"] = "random"
        path = options.out / f"{name}{'-tiny' if options.tiny else ''}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(bench.table(result) + "\n")
        print(bench.table(result), flush=True)
        del pipe, call
        if device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
