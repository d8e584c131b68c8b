"""Trains mini-dit on the emoji world: DDPM's noise prediction, conditioned on a group of emoji.

    python examples/training/train_mini_dit.py --emoji emoji --vae runs/vae/model --out runs/dit \
        --start zcache/checkpoints/mini-dit/transformer --minutes 100

A class is a group of many members and the model chooses one. In a part of the pictures, which
falls to `--named-end`, it is told the very member, by a row of the class table behind the groups':
what a thing looks like is learnt faster from its name. One label in ten is dropped for guidance.
The training resumes from `--out`/checkpoint.pt. `--start` gives the first weights of a fresh run:
an earlier model's, or `--out`/average of another run, which knows the members by name as well.
"""

import argparse
import copy
import logging
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from emoji_pictures import read
from emoji_world import CLASSES, draw, members
from mini_dit import NULL_CLASS, WEIGHTS_BYTES, autoencoder, save, scheduler, transformer
from optimization import autocast, average, falling, optimizers, set_pace

logger = logging.getLogger("train_mini_dit")

LEAST_SIGNAL = 0.02  # bounds the weight of the noisiest steps


def paint(folder: Path, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints pictures in [-1, 1] (N, 3, H, W) and returns their labels (N, 2): group and member.

    A class of n members, skin tones not counted, is painted as often as sqrt(n).
    """
    rng = random.Random(seed)
    groups = members(read(folder))
    rows, shares, next_row = {}, [], len(CLASSES)
    for group in groups.values():
        for one in group:
            if not one.toned:
                next_row += 1
            rows[one.path] = next_row - 1
        shares.append(sum(not one.toned for one in group) ** 0.5)
    assert next_row < NULL_CLASS
    pictures, labels = [], []
    for index in rng.choices(range(len(CLASSES)), shares, k=count):
        one = rng.choice(groups[CLASSES[index]])
        pictures.append(np.asarray(draw(one, rng)))
        labels.append((index, rows[one.path]))
    signal = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return signal, torch.tensor(labels)


@torch.no_grad()
def dataset(
    vae: AutoencoderKL, folder: Path, path: Path, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads the latents (N, C, h, w) and labels, or paints and encodes the pictures."""
    if not path.exists():
        latents, labels = [], []
        for start in range(0, count, 512):
            signal, some = paint(folder, min(512, count - start), seed=1000 + start)
            for part in signal.split(32):
                with autocast():
                    latents.append(vae.encode(part).latent_dist.mode().half())
            labels.append(some)
            logger.info("encoded %d of %d", start + len(some), count)
        torch.save((torch.cat(latents), torch.cat(labels)), path)
    return torch.load(path)


def at_most(latents: torch.Tensor, labels: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Keeps the pictures of at most `count` members of every class, always the same ones."""
    kept: list[int] = []
    for group in labels[:, 0].unique().tolist():
        rows = labels[labels[:, 0] == group, 1].unique().tolist()
        kept += random.Random(group).sample(rows, min(count, len(rows)))
    chosen = torch.isin(labels[:, 1], torch.tensor(kept))
    return latents[chosen], labels[chosen]


def first_weights(model: DiTTransformer2DModel, folder: Path) -> None:
    """Takes the weights of an earlier model; where its classes were others, all start as none."""
    old = DiTTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float32)
    model.load_state_dict(old.state_dict())
    for block in model.transformer_blocks:
        table = block.norm1.emb.class_embedder.embedding_table.weight.data
        empty = table[200].abs().sum() == 0  # cleared: the earlier classes were few
        if empty:
            table[:NULL_CLASS] = table[NULL_CLASS] + 0.1 * torch.randn_like(table[:NULL_CLASS])


def draw_timestep(count: int, device: str) -> torch.Tensor:
    """Draws timesteps, most of them where a picture's layout is decided."""
    middle = torch.sigmoid(0.2 + 1.1 * torch.randn(count, device=device))
    return (1000 * middle).long().clamp(0, 999)


def objective(
    model: DiTTransformer2DModel, clean: torch.Tensor, ids: torch.Tensor, signal: torch.Tensor
) -> torch.Tensor:
    """Squared error of the noise, divided by the signal's share: the error of the velocity."""
    timestep = draw_timestep(len(clean), clean.device)
    share = signal[timestep][:, None, None, None]
    noise = torch.randn_like(clean)
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    with autocast(clean.device.type):
        predicted = model(noisy, timestep, ids, return_dict=False)[0]
    error = predicted[:, : clean.shape[1]].float() - noise
    return (error.square() / share.clamp(min=LEAST_SIGNAL)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model")
    parser.add_argument("--start", type=Path, help="transformer to begin with")
    parser.add_argument("--minutes", type=float, default=90, help="training time, resumed included")
    parser.add_argument("--pictures", type=int, default=16_000)
    parser.add_argument("--members", type=int, help="at most so many members of a class")
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--heads", type=int, default=5, help="of width 32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay-from", type=float, default=0.6, help="part of the time")
    parser.add_argument("--named-end", type=float, default=0.1, help="last share of named members")
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(time.time_ns() % 2**31)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"

    standard = paint(args.emoji, 384, seed=1)[0]
    vae = autoencoder(AutoencoderKL.from_pretrained(args.vae).eval(), standard)
    latents, labels = dataset(vae, args.emoji, args.out / "latents.pt", args.pictures)
    if args.members:
        latents, labels = at_most(latents, labels, args.members)
    logger.info(
        "%d latents: mean %.3f  deviation %.3f", len(latents), latents.mean(), latents.float().std()
    )
    model = transformer(latents.shape[1], latents.shape[-1], args.layers, args.heads)
    if args.start:
        first_weights(model, args.start)
    # The blocks drop the class each for itself in training mode: it is dropped here, for all.
    model.eval()
    smooth = copy.deepcopy(model).requires_grad_(False)
    steppers = optimizers(model, args.rate)
    step, spent_s = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        smooth.load_state_dict(saved["average"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    logger.info("%.2f M parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    model.compile()
    signal = scheduler().alphas_cumprod

    def store() -> None:
        state = {"model": model.state_dict(), "average": smooth.state_dict()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers]}
        torch.save(state | {"step": step, "spent_s": spent_s}, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        save(args.out / "pipeline", vae, smooth, CLASSES)
        half = copy.deepcopy(smooth).half()  # with the members' rows, to `--start` from
        half.save_pretrained(args.out / "average", max_shard_size=WEIGHTS_BYTES)

    budget_s, started = args.minutes * 60, time.monotonic() - spent_s
    stored_s, losses = spent_s, []
    while (spent_s := time.monotonic() - started) < budget_s:
        progress = spent_s / budget_s
        pace = min((step + 1) / 60, falling(progress, args.decay_from))
        set_pace(steppers, pace)
        rows = torch.randint(len(labels), (args.batch,))
        named = torch.rand(args.batch) < 0.5 + (args.named_end - 0.5) * progress
        dropped = torch.rand(args.batch) < 0.1
        ids = torch.where(named, labels[rows, 1], labels[rows, 0]).masked_fill(dropped, NULL_CLASS)
        loss = objective(model, latents[rows].float(), ids, signal)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        step += 1
        average(smooth, model, min(0.998, step / (step + 20)))
        losses.append(loss.item())
        if step % 20 == 0:
            recent = np.mean(losses[-20:])
            logger.info("step %d  %.0f s  loss %.4f  pace %.2f", step, spent_s, recent, pace)
        if spent_s - stored_s > args.save_minutes * 60:
            stored_s = spent_s
            store()
    store()
    logger.info("done: %d steps, %d samples, %.0f s", step, step * args.batch, spent_s)


if __name__ == "__main__":
    main()
