"""Trains a small FLUX-like autoencoder (8x downsampling) on the pictures of `emoji_world.py`.

    python examples/training/train_vae.py --emoji emoji --out runs/vae --minutes 15

The loss is the error of pixels and of their differences (edges), and a little KL that keeps the
latents smooth. `--start FOLDER` begins with the weights of an autoencoder. The finished folder loads
with `AutoencoderKL.from_pretrained`; its `scaling_factor` and `shift_factor` make the latents of the
pictures zero-mean and unit-variance.
"""

import argparse
import logging
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from emoji_pictures import read
from emoji_world import crowd, draw, members
from optimization import autocast

from zcache.models.mini.scenes import IMAGE_SIZE

logger = logging.getLogger("train_vae")


def build(latent_channels: int, widths: tuple[int, ...]) -> AutoencoderKL:
    """Builds FLUX's autoencoder at toy width: no quantisation convolutions, no mid attention."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=latent_channels,
        sample_size=IMAGE_SIZE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )
    # The residual branches start shut, so that the way through is a chain of plain convolutions.
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.orthogonal_(module.weight)
            torch.nn.init.zeros_(module.bias)
        if name.endswith("conv2"):
            torch.nn.init.zeros_(module.weight)
    # The posterior starts narrow: from unit variance the divergence wins and channels collapse.
    torch.nn.init.constant_(vae.encoder.conv_out.bias[latent_channels:], -5.0)
    return vae


def paint(folder: Path, count: int, seed: int) -> torch.Tensor:
    """Paints emoji as bytes: one half crowded, the other half single large ones.

    Crowded pictures teach colours and edges many times faster: the others are mostly background.
    """
    rng = random.Random(seed)
    every = [one for one in read(folder) if one.subgroup != "country-flag"]
    single = [one for group in members(every).values() for one in group]
    pictures = [crowd(every, 8, rng) for _ in range(count // 2)]
    pictures += [draw(rng.choice(single), rng) for _ in range(count - count // 2)]
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)  # (N, 3, H, W)


def to_signal(pictures: torch.Tensor, device: str) -> torch.Tensor:
    """Maps bytes to [-1, 1]."""
    signal = pictures.to(device).float() / 127.5 - 1
    return signal.contiguous(memory_format=torch.channels_last)


def objective(vae: AutoencoderKL, signal: torch.Tensor, kl_weight: float) -> torch.Tensor:
    """Absolute and squared error, error of the edges, and kl_weight * KL per latent number."""
    posterior = vae.encode(signal).latent_dist
    error = vae.decode(posterior.sample()).sample.float() - signal
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + edges / 2 + kl_weight * divergence


def crop(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """Cuts the same random square, aligned to the latent grid, out of every picture."""
    limit = (pictures.shape[-1] - side) // 8 + 1
    top, left = (8 * int(torch.randint(limit, ())) for _ in range(2))
    return pictures[..., top : top + side, left : left + side]


@torch.no_grad()
def measure(vae: AutoencoderKL, pictures: torch.Tensor, device: str) -> tuple[float, float, float]:
    """Returns the latents' mean and standard deviation, and the PSNR in decibels."""
    signal = to_signal(pictures, device)
    latents = vae.encode(signal).latent_dist.mode()
    error = (vae.decode(latents).sample.clamp(-1, 1) - signal).square().mean()
    return latents.mean().item(), latents.std().item(), 10 * float(torch.log10(4 / error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--start", type=Path, help="autoencoder to begin with")
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--widths", type=int, nargs=4, default=(16, 32, 64, 64))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crops-until", type=float, default=0.6, help="part of the time")
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--kl-weight", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"

    pictures = paint(args.emoji, args.pictures, 1)
    unseen, test = paint(args.emoji, 64, 3), paint(args.emoji, 128, 4)
    vae = build(args.latent_channels, tuple(args.widths))
    if args.start:
        vae.load_state_dict(AutoencoderKL.from_pretrained(args.start).state_dict())
        logger.info("mean %.3f  std %.3f  PSNR %.2f dB", *measure(vae, unseen, "cpu"))
    vae = vae.to(device)
    kernels = [weight for weight in vae.parameters() if weight.ndim == 4]
    # Muon takes matrices: these share the kernels' memory, one row for an output channel.
    matrices = [torch.nn.Parameter(weight.data.flatten(1)) for weight in kernels]
    others = [weight for weight in vae.parameters() if weight.ndim != 4]
    optimizers = [
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.98)),
    ]
    step, spent_s = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        vae.load_state_dict(saved["vae"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    logger.info("%.2f M parameters", sum(p.numel() for p in vae.parameters()) / 1e6)

    budget_s, started = args.minutes * 60, time.monotonic() - spent_s
    while (spent_s := time.monotonic() - started) < budget_s:
        progress = spent_s / budget_s
        pace = min(1.0, (step + 1) / 50, max(1e-2, 2 * (1 - progress)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * pace
        cropped = progress < args.crops_until
        chosen = torch.randint(len(pictures), (args.batch if cropped else args.batch // 2,))
        batch = crop(pictures[chosen], 64) if cropped else pictures[chosen]
        signal = to_signal(batch, device)
        with autocast(device):
            loss = objective(vae, signal, args.kl_weight)
        vae.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for matrix, kernel in zip(matrices, kernels, strict=True):
            matrix.grad = kernel.grad.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        if step % 20 == 0:
            logger.info("step %d  %.0f s  loss %.4f", step, spent_s, loss.item())
        if step % 200 == 0:
            logger.info("mean %.3f  std %.3f  PSNR %.2f dB", *measure(vae, unseen, device))
            state = {"vae": vae.state_dict(), "step": step, "spent_s": spent_s}
            state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            torch.save(state, checkpoint)
            vae.save_pretrained(args.out / "model")

    mean, deviation, psnr = measure(vae, test, device)
    logger.info("done: %d steps, mean %.4f  std %.4f  PSNR %.2f dB", step, mean, deviation, psnr)
    vae.register_to_config(shift_factor=mean, scaling_factor=1 / deviation)
    vae.save_pretrained(args.out / "model")


if __name__ == "__main__":
    main()
