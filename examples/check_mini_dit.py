"""Draws every class with mini-dit and counts how many pictures are recognised.

    python examples/check_mini_dit.py --count 240 --out recognition.json

The pictures are judged by `zcache.models.mini.classes.recognised`, which sees nothing but pixels.
"""

import argparse
import collections
import json
import time
from pathlib import Path

import torch
from diffusers import DiTPipeline
from PIL import Image

from zcache.models.mini import classes

FOLDER = Path(__file__).parents[1] / "zcache" / "checkpoints" / "mini-dit"


def draw(pipe: DiTPipeline, ids: list[int], args: argparse.Namespace) -> list[Image.Image]:
    """Draws one picture for each class id; the picture at row i has seed `--seed` + i."""
    pictures = []
    for start in range(0, len(ids), args.batch):
        batch = ids[start : start + args.batch]
        seeds = range(args.seed + start, args.seed + start + len(batch))
        pictures += pipe(
            batch,
            guidance_scale=args.guidance,
            num_inference_steps=args.steps,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
    return pictures


def sheet(pictures: list[Image.Image], columns: int = 12) -> Image.Image:
    """Lays pictures out on one sheet."""
    side, rows = pictures[0].width + 4, -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * side, rows * side), "white")
    for index, picture in enumerate(pictures):
        paper.paste(picture, (index % columns * side, index // columns * side))
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the figures")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet")
    args = parser.parse_args()

    pipe = DiTPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    pipe.set_progress_bar_config(disable=True)
    labels = [classes.LABELS[index % len(classes.LABELS)] for index in range(args.count)]
    started = time.perf_counter()
    pictures = draw(pipe, pipe.get_label_ids(labels), args)
    seconds = time.perf_counter() - started

    seen = [classes.recognised(picture) for picture in pictures]
    missed = collections.Counter(
        f"{label} seen as {found}"
        for label, found in zip(labels, seen, strict=True)
        if label != found
    )
    figures = {
        "recognised": args.count - missed.total(),
        "count": args.count,
        "rate": 1 - missed.total() / args.count,
        "missed": dict(missed.most_common()),
        "steps": args.steps,
        "guidance_scale": args.guidance,
        "seed": args.seed,
        "seconds_per_picture": round(seconds / args.count, 3),
    }
    print(json.dumps(figures, indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2) + "\n")
    if args.sheet:
        sheet(pictures).save(args.sheet)


if __name__ == "__main__":
    main()
