"""Trains the small networks that `zcache.models.mini.check` judges mini-flux's pictures with.

    python examples/training/classify_scenes.py --emoji emoji --vae examples/training/checkpoints/emoji-vae \
        --out zcache/data/emoji-scenes.safetensors

They are trained on painted scenes, one half of them as the autoencoder gives them back, that are shifted,
blurred, noisy and of another contrast. `examples/check_mini_flux.py` counts with them.
"""

import argparse
import logging
import random
from pathlib import Path

import torch
from classify_emoji import disturb
from diffusers import AutoencoderKL
from emoji_pictures import read
from emoji_scenes import draw, renderings
from optimization import autocast
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from zcache.models.mini.check import LAYOUTS, cut, name, networks, signal, survey
from zcache.models.mini.scenes import NOUNS, PLACES, TEXTURES, TONES, Scene, samples

logger = logging.getLogger("classify_scenes")

EMPTY = 300  # of the pictures show a background alone


def paint(folder: Path, vae: AutoencoderKL, scenes: list[Scene], seed: int) -> torch.Tensor:
    """Paints scenes, every other one through the autoencoder, as bytes (N, 3, 128, 128)."""
    rng, pictures = random.Random(seed), renderings(read(folder))
    painted = (127.5 * (1 + signal(draw(scene, pictures, rng) for scene in scenes))).round().byte()
    with torch.no_grad(), autocast():
        for start in range(0, len(scenes), 64):
            some = painted[start : start + 64 : 2].float() / 127.5 - 1
            soft = vae.decode(vae.encode(some).latent_dist.mode()).sample.float().clamp(-1, 1)
            painted[start : start + 64 : 2] = (127.5 * (1 + soft)).round().byte()
    return painted


def squares(pictures: torch.Tensor, scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts the places of every scene, and those of another layout, where nothing whole is seen."""
    rng, found, truth = random.Random(0), [], []
    for picture, scene in zip(pictures.float() / 127.5 - 1, scenes, strict=True):
        if scene.nouns:
            found.append(cut(picture, scene))
            truth += [NOUNS.index(noun) for noun in scene.nouns]
        layout = rng.choice([one for one in LAYOUTS[1:] if one != scene.layout])
        other = Scene(("cat",) * layout[0], layout[1], scene.tone, scene.texture)
        for square, place in zip(cut(picture, other), other.places, strict=True):
            if place not in PLACES[scene.layout] or other.side != scene.side:
                found.append(square[None])
                truth.append(len(NOUNS))
    return torch.cat(found), torch.tensor(truth)


def fit(
    model: nn.Module, pictures: torch.Tensor, truth: torch.Tensor, sizes: list[int], steps: int
) -> None:
    """Trains a model of several heads in a row; `truth` (N, heads)."""
    stepper = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(stepper, 4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(truth), (64,))
        some = pictures[rows]
        if some.dtype == torch.uint8:
            some = some.float() / 127.5 - 1
        gain, offset = 1 + 0.15 * torch.randn(64, 1, 1, 1), 0.05 * torch.randn(64, 3, 1, 1)
        scores = model(disturb(gain * some + offset, mirror=len(sizes) == 1)).split(sizes, dim=1)
        losses = [
            functional.cross_entropy(score, truth[rows, head], label_smoothing=0.05)
            for head, score in enumerate(scores)
        ]
        stepper.zero_grad()
        torch.stack(losses).sum().backward()
        stepper.step()
        pace.step()
        if step % 200 == 0:
            logger.info("step %d  loss %s", step, " ".join(f"{loss:.3f}" for loss in losses))
    model.eval()


def measure(trained: nn.ModuleDict, pictures: torch.Tensor, scenes: list[Scene]) -> None:
    """Says how much of unseen paintings is seen right."""
    pictures = pictures.float() / 127.5 - 1
    grounds = survey(trained["grounds"], pictures)
    seen = [
        {
            "nouns": name(trained["nouns"], picture, scene) == list(scene.nouns),
            **{part: getattr(ground, part) == getattr(scene, part) for part in vars(ground)},
        }
        for picture, scene, ground in zip(pictures, scenes, grounds, strict=True)
    ]
    for part in seen[0]:
        logger.info("%s: %d of %d", part, sum(one[part] for one in seen), len(seen))
    logger.info("obeyed: %d of %d", sum(all(one.values()) for one in seen), len(seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--vae", type=Path, required=True, help="autoencoder of mini-flux")
    parser.add_argument("--out", type=Path, required=True, help="file of the networks' weights")
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(args.vae, torch_dtype=torch.float32).eval()

    rng, scenes = random.Random(2), samples(args.scenes, "train", 1)
    scenes += [Scene((), None, rng.choice(TONES), rng.choice(TEXTURES)) for _ in range(EMPTY)]
    pictures, trained = paint(args.emoji, vae, scenes, seed=1), networks()
    logger.info("painted %d scenes", len(scenes))
    found, truth = squares(pictures, scenes)
    fit(trained["nouns"], found, truth[:, None], [1 + len(NOUNS)], args.steps)
    ground = [
        (LAYOUTS.index(s.layout), TONES.index(s.tone), TEXTURES.index(s.texture)) for s in scenes
    ]
    sizes = [len(LAYOUTS), len(TONES), len(TEXTURES)]
    fit(trained["grounds"], pictures, torch.tensor(ground), sizes, args.steps)

    trained = trained.half()
    weights = {key: tensor.contiguous() for key, tensor in trained.state_dict().items()}
    save_file(weights, args.out)
    unseen = samples(800, "held-out", 7)
    measure(trained.float(), paint(args.emoji, vae, unseen, seed=3), unseen)


if __name__ == "__main__":
    main()
