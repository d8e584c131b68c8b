"""A small classifier of the emoji world's groups, and the share of a DiT's pictures it recognises.

    python examples/training/classify_emoji.py --emoji emoji --out runs/classifier.pt
    python examples/training/classify_emoji.py --emoji emoji --out runs/classifier.pt \
        --model runs/dit/pipeline --count 160

The network sees pictures of 64x64. It is trained on painted pictures that are shifted, blurred and
noisy, so that it looks for what is shown and not for how it was drawn.
"""

import argparse
import collections
import itertools
import json
import logging
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import DiTPipeline
from emoji_pictures import read
from emoji_world import CLASSES, draw, members
from torch import nn
from torch.nn import functional

logger = logging.getLogger("classify_emoji")

SIDE = 64
CONFIDENT = 0.5


def network() -> nn.Sequential:
    """Four convolutions of stride two and a linear layer; (N, 3, 64, 64) to (N, classes)."""
    widths = (3, 32, 64, 96, 128)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 16, len(CLASSES)))


def shrink(pictures: torch.Tensor) -> torch.Tensor:
    """(N, 3, 128, 128) to (N, 3, 64, 64)."""
    return functional.avg_pool2d(pictures, pictures.shape[-1] // SIDE)


def paint(folder: Path, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints small pictures in [-1, 1], every class as often, and their class ids."""
    rng = random.Random(seed)
    groups = members(read(folder))
    ids = [index % len(CLASSES) for index in range(count)]
    drawn = [np.asarray(draw(rng.choice(groups[CLASSES[index]]), rng)) for index in ids]
    signal = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return shrink(signal), torch.tensor(ids)


def disturb(pictures: torch.Tensor) -> torch.Tensor:
    """Shifts, mirrors, blurs and adds noise, another amount for every batch."""
    top, left = (int(torch.randint(-6, 7, ())) for _ in range(2))
    pictures = pictures.roll((top, left), dims=(2, 3))
    if torch.rand(()) < 0.5:
        pictures = pictures.flip(3)
    if torch.rand(()) < 0.5:
        pictures = functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    return pictures + 0.15 * torch.rand(()) * torch.randn_like(pictures)


def train(folder: Path, steps: int) -> nn.Sequential:
    """Trains on painted pictures and says how many unseen ones are recognised."""
    pictures, ids = paint(folder, 6000, seed=1)
    unseen, truth = paint(folder, 800, seed=2)
    model = network()
    stepper = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(stepper, 4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(ids), (64,))
        scores = model(disturb(pictures[rows]))
        loss = functional.cross_entropy(scores, ids[rows], label_smoothing=0.05)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        pace.step()
        if step % 200 == 0:
            logger.info("step %d  loss %.3f", step, loss.item())
    model.eval()
    with torch.no_grad():
        right = (model(unseen).argmax(1) == truth).float().mean()
    logger.info("recognises %.1f %% of unseen paintings", 100 * right)
    return model


@torch.no_grad()
def recognise(model: nn.Module, pictures: torch.Tensor) -> list[str | None]:
    """Names the class of each picture (N, 3, 128, 128) in [-1, 1]; None where it is not sure."""
    sure, best = model(shrink(pictures)).softmax(1).max(1)
    return [CLASSES[i] if p > CONFIDENT else None for p, i in zip(sure, best, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--out", type=Path, required=True, help="file of the classifier's weights")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--model", type=Path, help="DiT pipeline to judge")
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--guidance", type=float, default=1.5)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if args.out.exists():
        model = network().eval()
        model.load_state_dict(torch.load(args.out))
    else:
        model = train(args.emoji, args.steps)
        torch.save(model.state_dict(), args.out)
    if not args.model:
        return

    pipe = DiTPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    asked, seen = [], []
    for start in range(0, args.count, 16):
        rows = range(start, min(start + 16, args.count))
        generators = [torch.Generator("cpu").manual_seed(row) for row in rows]
        ids = [row % len(CLASSES) for row in rows]
        images = pipe(
            ids, guidance_scale=args.guidance, generator=generators, output_type="np"
        ).images
        signal = torch.from_numpy(images).permute(0, 3, 1, 2).float() * 2 - 1
        asked += [CLASSES[index] for index in ids]
        seen += recognise(model, signal)
    pairs = list(zip(asked, seen, strict=True))
    missed = collections.Counter(f"{a} seen as {b}" for a, b in pairs if a != b)
    right = sum(a == b for a, b in pairs)
    print(json.dumps({"recognised": right, "count": len(pairs), "missed": dict(missed)}, indent=2))


if __name__ == "__main__":
    main()
