"""Trains mini-dit: DDPM's noise prediction on the latents of single shapes, conditioned on a class.

    python examples/training/train_mini_dit.py --vae runs/vae/model --out runs/dit --minutes 12

`--vae` is the autoencoder that `train_vae.py` makes. One class in ten is replaced by the null
class, for guidance. The training resumes from `--out`/checkpoint.pt, which holds the moving average
of the weights as well; a folder for `DiTPipeline` stands in `--out`/pipeline.
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
from mini_dit import NULL_CLASS, autoencoder, save, scheduler, transformer
from optimization import average, falling, optimizers, set_pace

from zcache.models.mini import classes

logger = logging.getLogger("train_mini_dit")

LEAST_SIGNAL = 0.02  # bounds the weight of the noisiest steps


def paint(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints pictures in [-1, 1], every class as often; returns their class ids as well."""
    rng = random.Random(seed)
    ids = [index % len(classes.LABELS) for index in range(count)]
    pictures = np.stack([classes.draw(classes.LABELS[index], rng) for index in ids])
    signal = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return signal, torch.tensor(ids)


@torch.no_grad()
def encode(vae: AutoencoderKL, count: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints pictures part by part and keeps their latents."""
    vae = vae.to(device, memory_format=torch.channels_last)
    latents, ids = [], []
    for start in range(0, count, 480):
        signal, some = paint(min(480, count - start), seed=1000 + start)
        for part in signal.split(32):
            with torch.autocast(device, torch.bfloat16):
                distribution = vae.encode(part.to(device)).latent_dist
            latents.append(distribution.mode().float().contiguous())
        ids.append(some)
        logger.info("encoded %d of %d", start + len(some), count)
    vae.to(memory_format=torch.contiguous_format)
    return torch.cat(latents), torch.cat(ids).to(device)


def dataset(
    vae: AutoencoderKL, path: Path, count: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads the encoded pictures, or paints and encodes them."""
    if path.exists():
        latents, ids = torch.load(path, map_location=device)
    else:
        latents, ids = encode(vae, count, device)
        torch.save((latents, ids), path)
    return latents, ids


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
    with torch.autocast(clean.device.type, torch.bfloat16):
        predicted = model(noisy, timestep, ids, return_dict=False)[0]
    error = predicted[:, : clean.shape[1]].float() - noise
    return (error.square() / share.clamp(min=LEAST_SIGNAL)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model")
    parser.add_argument("--minutes", type=float, default=12, help="training time, resumed included")
    parser.add_argument("--pictures", type=int, default=9_600)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--heads", type=int, default=5, help="of width 32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay-from", type=float, default=0.5, help="part of the time")
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(time.time_ns() % 2**31)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"

    vae = autoencoder(AutoencoderKL.from_pretrained(args.vae).eval(), paint(384, seed=1)[0])
    latents, ids = dataset(vae, args.out / "latents.pt", args.pictures, device)
    logger.info("latents: mean %.3f  deviation %.3f", latents.mean(), latents.std())
    model = transformer(latents.shape[1], latents.shape[-1], args.layers, args.heads).to(device)
    # The blocks drop the class each for itself in training mode: it is dropped here, for all.
    model.eval()
    smooth = copy.deepcopy(model).requires_grad_(False)
    steppers = optimizers(model, args.rate)
    step, spent_s = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        smooth.load_state_dict(saved["average"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    logger.info("%.2f M parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    model.compile()
    signal = scheduler().alphas_cumprod.to(device)

    def store() -> None:
        state = {"model": model.state_dict(), "average": smooth.state_dict()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers]}
        torch.save(state | {"step": step, "spent_s": spent_s}, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        save(args.out / "pipeline", vae, smooth)

    budget_s, started = args.minutes * 60, time.monotonic() - spent_s
    stored_s, losses = spent_s, []
    while (spent_s := time.monotonic() - started) < budget_s:
        pace = min((step + 1) / 60, falling(spent_s / budget_s, args.decay_from))
        set_pace(steppers, pace)
        rows = torch.randint(len(ids), (args.batch,), device=device)
        dropped = torch.rand(args.batch, device=device) < 0.1
        loss = objective(model, latents[rows], ids[rows].masked_fill(dropped, NULL_CLASS), signal)
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
