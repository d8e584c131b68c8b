"""Share of held-out captions that a mini-flux pipeline obeys, judged by a small classifier.

    python examples/training/check_emoji_flux.py --emoji emoji --classifier runs/nouns.pt \
        --model runs/flow/pipeline --count 200 --sheet sheet.png

The classifier is trained first if its file is missing: one network names the noun in a square that
is cut out around each place of the caption's layout, another the tone and the texture of the whole
picture. A caption is obeyed when all of it is seen.
"""

import argparse
import json
import logging
import random
from pathlib import Path

import numpy as np
import torch
from classify_emoji import disturb
from diffusers import FluxPipeline
from emoji_pictures import read
from emoji_scenes import (
    IMAGE_SIZE,
    NOUNS,
    TEXTURES,
    TONES,
    Scene,
    caption,
    draw,
    renderings,
    samples,
)
from PIL import Image
from torch import nn
from torch.nn import functional

logger = logging.getLogger("check_emoji_flux")

SIDE, WHOLE = 48, 96  # pixels of a square and of a whole picture for the classifier
KNOWN, GROUNDS = tuple(NOUNS), tuple((tone, texture) for tone in TONES for texture in TEXTURES)
NOTHING = len(KNOWN)


def network(classes: int, side: int) -> nn.Sequential:
    """Four convolutions of stride two and a linear layer; (N, 3, side, side) to (N, classes)."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96), (96, 128)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * (side // 16) ** 2, classes)
    )


def cut(picture: torch.Tensor, scene: Scene) -> torch.Tensor:
    """The squares around the places of a scene, (places, 3, 48, 48), out of (3, 128, 128)."""
    half = (scene.side + 8) // 2
    squares = []
    for x, y in scene.places:
        top, left = max(0, y - half), max(0, x - half)
        square = picture[None, :, top : y + half, left : x + half]
        squares.append(functional.interpolate(square, (SIDE, SIDE), mode="area"))
    return torch.cat(squares)


def small(pictures: torch.Tensor) -> torch.Tensor:
    """Whole pictures (N, 3, 128, 128) at the classifier's size."""
    return functional.interpolate(pictures, (WHOLE, WHOLE), mode="area")


def tensor(pictures: list[Image.Image]) -> torch.Tensor:
    """Pictures as (N, 3, H, W) in [-1, 1]."""
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(folder: Path, steps: int) -> tuple[nn.Module, nn.Module]:
    """Trains both networks on painted scenes; empty places are cut from pictures without emoji."""
    rng, pictures = random.Random(1), renderings(read(folder))
    scenes = samples(4000, "train", 1)
    signal = tensor([draw(scene, pictures, rng) for scene in scenes])
    squares = [cut(picture, scene) for picture, scene in zip(signal, scenes, strict=True)]
    names = [KNOWN.index(noun) for scene in scenes for noun in scene.nouns]
    for scene in scenes[:300]:
        bare = tensor([draw(Scene((), None, scene.tone, scene.texture), pictures, rng)])[0]
        squares.append(cut(bare, scene))
        names += [NOTHING] * len(scene.nouns)
    grounds = torch.tensor([GROUNDS.index((scene.tone, scene.texture)) for scene in scenes])
    nouns = _fit(torch.cat(squares), torch.tensor(names), 1 + len(KNOWN), steps)
    return nouns, _fit(small(signal), grounds, len(GROUNDS), steps)


def obeyed(nouns: nn.Module, grounds: nn.Module, picture: torch.Tensor, scene: Scene) -> dict:
    """What of a caption is seen in a picture (3, 128, 128): every noun in its place, the ground."""
    with torch.no_grad():
        seen = nouns(cut(picture, scene)).argmax(1).tolist()
        tone, texture = GROUNDS[int(grounds(small(picture[None])).argmax())]
    wanted = [KNOWN.index(noun) for noun in scene.nouns]
    return {
        "nouns": seen == wanted,
        "tone": tone == scene.tone,
        "texture": texture == scene.texture,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200, help="of the classifier's training")
    parser.add_argument("--model", type=Path, help="FLUX pipeline to judge; None judges paintings")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of 32")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nouns, grounds = network(1 + len(KNOWN), SIDE), network(len(GROUNDS), WHOLE)
    if args.classifier.exists():
        for model, state in zip((nouns, grounds), torch.load(args.classifier), strict=True):
            model.load_state_dict(state)
    else:
        nouns, grounds = train(args.emoji, args.steps)
        torch.save([nouns.state_dict(), grounds.state_dict()], args.classifier)
    nouns, grounds = nouns.eval(), grounds.eval()

    scenes = samples(args.count, "held-out", 7)
    if args.model:
        signal = _generate(args, [caption(scene) for scene in scenes])
    else:
        pictures, rng = renderings(read(args.emoji)), random.Random(3)
        signal = tensor([draw(scene, pictures, rng) for scene in scenes])
    found = [obeyed(nouns, grounds, *pair) for pair in zip(signal, scenes, strict=True)]
    figures = {part: sum(one[part] for one in found) for part in found[0]}
    figures |= {"obeyed": sum(all(one.values()) for one in found), "count": len(found)}
    print(json.dumps(figures, indent=2))
    if args.sheet:
        some = ((signal[:32] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        rows = [np.concatenate(list(some[start : start + 8]), 1) for start in range(0, 32, 8)]
        Image.fromarray(np.concatenate(rows)).save(args.sheet)


def _generate(args: argparse.Namespace, captions: list[str]) -> torch.Tensor:
    pipe = FluxPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    parts = []
    for start in range(0, len(captions), 16):
        some = captions[start : start + 16]
        images = pipe(
            some,
            height=IMAGE_SIZE,
            width=IMAGE_SIZE,
            num_inference_steps=50,
            guidance_scale=args.guidance,
            max_sequence_length=20,
            generator=[torch.Generator().manual_seed(start + i) for i in range(len(some))],
            output_type="np",
        ).images
        parts.append(torch.from_numpy(images).permute(0, 3, 1, 2).float() * 2 - 1)
    return torch.cat(parts)


def _fit(pictures: torch.Tensor, truth: torch.Tensor, classes: int, steps: int) -> nn.Module:
    model = network(classes, pictures.shape[-1])
    stepper = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(stepper, 4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(truth), (64,))
        loss = functional.cross_entropy(
            model(disturb(pictures[rows])), truth[rows], label_smoothing=0.05
        )
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        pace.step()
        if step % 200 == 0:
            logger.info("step %d  loss %.3f", step, loss.item())
    return model


if __name__ == "__main__":
    main()
