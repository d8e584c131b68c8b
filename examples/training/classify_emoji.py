"""Trains the small classifier that `zcache.models.mini.classes` judges mini-dit's pictures with.

    python examples/training/classify_emoji.py --emoji emoji --out zcache/data/emoji-groups.safetensors

It is trained on painted pictures that are shifted, blurred and noisy, so that it looks for what is
shown and not for how it was drawn. `examples/check_mini_dit.py` counts with it.
"""

import argparse
import logging
import random
from pathlib import Path

import numpy as np
import torch
from emoji_pictures import read
from emoji_world import CLASSES, draw, members
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from zcache.models.mini.classes import network, shrink

logger = logging.getLogger("classify_emoji")


def paint(folder: Path, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints small pictures in [-1, 1], every class as often, and their class ids."""
    rng = random.Random(seed)
    groups = members(read(folder))
    ids = [index % len(CLASSES) for index in range(count)]
    drawn = [np.asarray(draw(rng.choice(groups[CLASSES[index]]), rng)) for index in ids]
    signal = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return shrink(signal), torch.tensor(ids)


def disturb(pictures: torch.Tensor, mirror: bool = True) -> torch.Tensor:
    """Shifts, mirrors, blurs and adds noise, another amount for every batch."""
    top, left = (int(torch.randint(-6, 7, ())) for _ in range(2))
    pictures = pictures.roll((top, left), dims=(2, 3))
    if mirror and torch.rand(()) < 0.5:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--out", type=Path, required=True, help="file of the classifier's weights")
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = train(args.emoji, args.steps).half().state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, args.out)


if __name__ == "__main__":
    main()
