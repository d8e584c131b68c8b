"""Films held-out captions with mini-hunyuan and counts how many clips obey them.

    python examples/check_mini_hunyuan.py --count 100 --out obedience.json

The captions were kept out of training by `zcache.models.mini.motion.samples`; the clips are judged by
`zcache.models.mini.motion_check.obeys`, which sees nothing but pixels.
"""

import argparse
import collections
import json
import time
from pathlib import Path

import torch
from diffusers import HunyuanVideoPipeline
from PIL import Image

from zcache.models.mini import motion, motion_check

FOLDER = Path(__file__).parents[1] / "zcache" / "checkpoints" / "mini-hunyuan"
GAP = 8  # pixels between clips on the sheet


def film(
    pipe: HunyuanVideoPipeline, captions: list[str], args: argparse.Namespace
) -> list[list[Image.Image]]:
    """Films one clip for each caption; the clip at row i has seed `--seed` + i."""
    clips = []
    for start in range(0, len(captions), args.batch):
        batch = captions[start : start + args.batch]
        seeds = range(args.seed + start, args.seed + start + len(batch))
        clips += pipe(
            batch,
            height=motion.FRAME_SIZE,
            width=motion.FRAME_SIZE,
            num_frames=motion.FRAMES,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            max_sequence_length=16,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).frames
    return clips


def sheet(clips: list[list[Image.Image]], every: int = 4, beside: int = 4) -> Image.Image:
    """Lays clips out on one sheet, every fourth frame of each in a row, four clips beside each other."""
    side, rows = clips[0][0].width + 2, -(-len(clips) // beside)
    width = -(-len(clips[0]) // every) * side + GAP
    paper = Image.new("RGB", (beside * width - GAP, rows * side), "white")
    for index, frames in enumerate(clips):
        left, top = index // rows * width, index % rows * side
        for column, frame in enumerate(frames[::every]):
            paper.paste(frame, (left + column * side, top))
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the captions and of the noise")
    parser.add_argument("--out", type=Path, help="file for the figures")
    parser.add_argument("--sheet", type=Path, help="file for a sheet of the first 64 clips")
    args = parser.parse_args()

    pipe = HunyuanVideoPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    pipe.set_progress_bar_config(disable=True)
    captions = [motion.caption(c) for c in motion.samples(args.count, "held-out", args.seed)]
    started = time.perf_counter()
    clips = film(pipe, captions, args)
    seconds = time.perf_counter() - started

    verdicts = [motion_check.obeys(*pair) for pair in zip(clips, captions, strict=True)]
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
        "seed": args.seed,
        "seconds_per_clip": round(seconds / len(captions), 3),
    }
    rows = [
        {"caption": text, "failures": verdict.failures}
        for text, verdict in zip(captions, verdicts, strict=True)
    ]
    print(json.dumps(figures, indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures | {"clips": rows}, indent=2) + "\n")
    if args.sheet:
        sheet(clips[:64]).save(args.sheet)


if __name__ == "__main__":
    main()
