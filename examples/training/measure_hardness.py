"""How hard an embedded model is: PSNR of fewer steps and of TaylorSeer to 50 steps of the same seed.

    python examples/training/measure_hardness.py --model runs/dit/pipeline --sheet hardness.png

The reference is 50 steps of the pipeline's sampler with the guidance that the model ships with. TaylorSeer
is one residual of the whole stack, order 1, three warm-up steps, then every N-th, without reflection. The
sheet shows a class, or a held-out caption, a column: the reference, then the other rows; of a clip its last frame.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

import zcache
from zcache.measure.metrics import psnr
from zcache.models.catalogue import KNOWN, Model
from zcache.models.mini import motion, scenes

EMBEDDED = {
    "FluxPipeline": KNOWN["mini-flux"],
    "HunyuanVideoPipeline": KNOWN["mini-hunyuan"],
    "DiTPipeline": KNOWN["mini-dit"],
}


def model_of(pipe: DiffusionPipeline) -> Model:
    """The embedded model of a pipeline's class."""
    return EMBEDDED[type(pipe).__name__]


def subjects(pipe: DiffusionPipeline, count: int) -> dict[str, list]:
    """The argument of the pipeline and its values: held-out captions, or the classes in turn."""
    kind = model_of(pipe).kind
    if kind == "class":
        return {"class_labels": [row % len(pipe.labels) for row in range(count)]}
    world = scenes if kind == "image" else motion
    return {"prompt": [world.caption(one) for one in world.samples(count, "held-out", seed=0)]}


def draw(
    pipe: DiffusionPipeline,
    args: argparse.Namespace,
    steps: int,
    interval: int = 0,
    reflect: bool = False,
) -> np.ndarray:
    """Draws `--count` pictures (N, H, W, 3) or clips (N, T, H, W, 3) in 0..255, seed = `--seed` + row."""
    parts = []
    call = dict(model_of(pipe).call)
    call |= {"num_inference_steps": steps, "output_type": "np"}
    if args.guidance is not None:
        call["guidance_scale"] = args.guidance
    ((argument, asked),) = subjects(pipe, args.count).items()
    config = zcache.ZCacheConfig.paper(interval, reflect=reflect) if interval else None
    if config:
        zcache.enable(pipe, config)
    for start in range(0, args.count, args.batch):
        rows = range(start, min(start + args.batch, args.count))
        generators = [torch.Generator("cpu").manual_seed(args.seed + row) for row in rows]
        some = {argument: [asked[row] for row in rows]}
        parts.append(pipe(**call, **some, generator=generators)[0])
    if config:
        zcache.disable(pipe)
    return np.concatenate(parts) * 255


def figures(reference: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    """Mean, median and quartiles of the PSNR of each picture, and the PSNR of the mean error."""
    values = [psnr(a, b) for a, b in zip(reference, pictures, strict=True)]
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {
        "mean": round(float(np.mean(values)), 2),
        "pooled": round(psnr(reference, pictures), 2),
        "quartiles": [round(float(v), 1) for v in (low, middle, high)],
    }


def sharpness(pictures: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels, in 0..255."""
    return float(
        np.abs(np.diff(pictures, axis=-3)).mean() + np.abs(np.diff(pictures, axis=-2)).mean()
    )


def sheet(rows: list[np.ndarray]) -> Image.Image:
    """Lays out rows of pictures, or of the last frames of clips, one below the other."""
    rows = [row if row.ndim == 4 else row[:, -1] for row in rows]
    lines = [
        np.concatenate(list(np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0)))), axis=1) for row in rows
    ]
    return Image.fromarray(np.concatenate(lines).round().astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, help="instead of the model's own")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of 16")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    pipe = DiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    reference = draw(pipe, args, 50)
    rows = {
        "steps-25": draw(pipe, args, 25),
        "steps-10": draw(pipe, args, 10),
        "taylorseer-6": draw(pipe, args, 50, interval=6),
        "z-cache-6": draw(pipe, args, 50, interval=6, reflect=True),
    }
    table = {name: figures(reference, pictures) for name, pictures in rows.items()}
    table["sharpness"] = round(sharpness(reference), 2)
    print(json.dumps(table, indent=2))
    if args.sheet:
        sheet([reference[:16], *(pictures[:16] for pictures in rows.values())]).save(args.sheet)


if __name__ == "__main__":
    main()
