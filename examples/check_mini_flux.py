"""Draws held-out captions with mini-flux and counts how many pictures obey them.

    python examples/check_mini_flux.py --count 200 --out obedience.json

The captions were kept out of training by `zcache.models.mini.parts.split`; the pictures are judged by
`zcache.models.mini.check.obeys`, which sees nothing but pixels.
"""

import argparse
import collections
import json
import time
from pathlib import Path

import torch
from diffusers import FluxPipeline
from PIL import Image

from zcache.models.catalogue import KNOWN
from zcache.models.mini import check, scenes

FOLDER = Path(__file__).parents[1] / "zcache" / "checkpoints" / "mini-flux"


def draw(pipe: FluxPipeline, captions: list[str], args: argparse.Namespace) -> list[Image.Image]:
    """Draws one picture for each caption; the picture at row i has seed `--seed` + i."""
    pictures = []
    for start in range(0, len(captions), args.batch):
        batch = captions[start : start + args.batch]
        seeds = range(args.seed + start, args.seed + start + len(batch))
        pictures += pipe(
            batch,
            height=scenes.IMAGE_SIZE,
            width=scenes.IMAGE_SIZE,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            max_sequence_length=20,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
    return pictures


def sheet(pictures: list[Image.Image], columns: int = 10) -> Image.Image:
    """Lays pictures out on one sheet."""
    side, rows = scenes.IMAGE_SIZE + 4, -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * side, rows * side), "white")
    for index, picture in enumerate(pictures):
        paper.paste(picture, (index % columns * side, index // columns * side))
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=KNOWN["mini-flux"].call["guidance_scale"])
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the captions and of the noise")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, help="file for the figures")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet")
    args = parser.parse_args()

    pipe = FluxPipeline.from_pretrained(args.model, torch_dtype=getattr(torch, args.dtype))
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    pipe.set_progress_bar_config(disable=True)
    captions = [scenes.caption(s) for s in scenes.samples(args.count, "held-out", args.seed)]
    started = time.perf_counter()
    pictures = draw(pipe, captions, args)
    seconds = time.perf_counter() - started

    verdicts = [check.obeys(*pair) for pair in zip(pictures, captions, strict=True)]
    clauses = collections.Counter(
        clause for v in verdicts for clause in {failure.split(":")[0] for failure in v.failures}
    )
    figures = {
        "obeyed": sum(map(bool, verdicts)),
        "count": len(captions),
        "rate": sum(map(bool, verdicts)) / len(captions),
        "failed_clauses": dict(clauses.most_common()),
        "steps": args.steps,
        "guidance_scale": args.guidance,
        "dtype": args.dtype,
        "seed": args.seed,
        "seconds_per_picture": round(seconds / len(captions), 3),
    }
    rows = [
        {"caption": text, "failures": verdict.failures}
        for text, verdict in zip(captions, verdicts, strict=True)
    ]
    print(json.dumps(figures, indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures | {"pictures": rows}, indent=2) + "\n")
    if args.sheet:
        sheet(pictures).save(args.sheet)


if __name__ == "__main__":
    main()
