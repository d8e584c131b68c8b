"""Trains a small HunyuanVideo autoencoder (8x in space, 4x in time) on clips of `zcache.models.mini.motion`.

    python examples/training/train_video_vae.py --image-vae runs/vae/model --out runs/video_vae \
        --minutes 15

It starts from the image autoencoder that `train_vae.py` makes: its kernels become the last tap in
time of the causal ones, so at first each latent frame holds the last of its four frames, and the
training is about motion alone. The finished folder loads with
`AutoencoderKLHunyuanVideo.from_pretrained`; its 1x1 convolutions standardise the latents, so its
scaling factor is 1.
"""

import argparse
import logging
import random
import time
from pathlib import Path

import moving_grounds
import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLHunyuanVideo
from optimization import autocast
from train_vae import objective

from zcache.models.mini import motion

logger = logging.getLogger("train_video_vae")


def build(latent_channels: int, widths: tuple[int, ...]) -> AutoencoderKLHunyuanVideo:
    """Builds HunyuanVideo's autoencoder at toy width, without attention in the middle."""
    return AutoencoderKLHunyuanVideo(
        latent_channels=latent_channels,
        down_block_types=("HunyuanVideoDownBlock3D",) * len(widths),
        up_block_types=("HunyuanVideoUpBlock3D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        norm_num_groups=8,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


@torch.no_grad()
def inflate(image: AutoencoderKL, latent_channels: int) -> AutoencoderKLHunyuanVideo:
    """Turns an image autoencoder into one of video that treats frames alone.

    The image's downsampling looks ahead (pixels 2i .. 2i+2), the video's looks around
    (2i-1 .. 2i+1): with all kernels turned by half a turn the two are the same. Latent channels
    that the image has not start as small random readings.
    """
    video = build(latent_channels, tuple(image.config.block_out_channels))
    known, wide = image.config.latent_channels, latent_channels
    source, weights = image.state_dict(), video.state_dict()
    for name, weight in weights.items():
        head, _, leaf = name.rpartition(".")
        if head in ("quant_conv", "post_quant_conv"):
            weight.copy_(
                torch.eye(*weight.shape[:2])[:, :, None, None, None] if leaf == "weight" else 0
            )
            continue
        old = source[f"{head.removesuffix('.conv')}.{leaf}"]
        if leaf == "weight" and weight.ndim == 5:
            old = torch.stack([torch.zeros_like(old)] * (weight.shape[2] - 1) + [old.flip(2, 3)], 2)
        if head == "encoder.conv_out.conv":
            fresh = 0.3 * weight if leaf == "weight" else torch.zeros_like(weight)
            if leaf == "bias":
                fresh[wide:] = -5.0  # narrow posteriors
            fresh[:known], fresh[wide : wide + known] = old[:known], old[known:]
            old = fresh
        if head == "decoder.conv_in.conv" and leaf == "weight":
            fresh = 0.3 * weight
            fresh[:, :known] = old
            old = fresh
        weight.copy_(old)
    return video


def paint(count: int, seed: int, crowd: int = 1) -> torch.Tensor:
    """Paints training clips as bytes, `crowd` of them over one another in each."""
    rng = random.Random(seed)
    every = motion.samples(crowd * count, "train", seed)
    painted = []
    for start in range(0, crowd * count, crowd):
        frames = moving_grounds.draw(rng)
        for actors in every[start : start + crowd]:
            frames = motion.draw(actors, rng, frames)
        painted.append(np.stack([np.asarray(frame) for frame in frames]))
    return torch.from_numpy(np.stack(painted)).permute(0, 4, 1, 2, 3)  # (N, 3, T, H, W)


def to_signal(clips: torch.Tensor, device: str) -> torch.Tensor:
    """Maps bytes to [-1, 1]."""
    signal = clips.to(device).float() / 127.5 - 1
    return signal.contiguous(memory_format=torch.channels_last_3d)


def turn(clips: torch.Tensor) -> torch.Tensor:
    """Mirrors clips in space and time, and swaps height and width, each one time in two."""
    axes = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
    clips = clips.flip(axes) if axes else clips
    return clips.transpose(3, 4) if torch.rand(()) < 0.5 else clips


@torch.no_grad()
def measure(vae: AutoencoderKLHunyuanVideo, clips: torch.Tensor, device: str) -> float:
    """Returns the PSNR in decibels of clips that are encoded and decoded."""
    signal = to_signal(clips, device)
    decoded = vae.decode(vae.encode(signal).latent_dist.mode()).sample
    return 10 * float(torch.log10(4 / (decoded.clamp(-1, 1) - signal).square().mean()))


@torch.no_grad()
def standardise(vae: AutoencoderKLHunyuanVideo, clips: torch.Tensor, device: str) -> None:
    """Makes every latent channel zero-mean and unit-variance; decoding undoes it."""
    latents = torch.cat(
        [vae.encode(to_signal(c, device)).latent_dist.mode() for c in clips.split(8)]
    )
    mean, deviation = latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4))
    channels = len(mean)
    first, last = vae.quant_conv, vae.post_quant_conv
    first.weight[:channels] /= deviation[:, None, None, None, None]
    first.bias[:channels] = (first.bias[:channels] - mean) / deviation
    first.bias[channels:] -= 2 * deviation.log()
    last.bias += last.weight[:, :, 0, 0, 0] @ mean
    last.weight *= deviation[None, :, None, None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image-vae", type=Path, help="begins with an image autoencoder")
    source.add_argument("--start", type=Path, help="begins with a video autoencoder")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model")
    parser.add_argument("--minutes", type=float, default=15, help="training time, resumed included")
    parser.add_argument("--latent-channels", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--kl-weight", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"

    half = max(1, args.clips // 2)
    clips = torch.cat([paint(half, 1, crowd=3), paint(half, 2)])
    unseen = paint(8, seed=3)
    if args.start:
        vae = AutoencoderKLHunyuanVideo.from_pretrained(args.start, torch_dtype=torch.float32)
    else:
        vae = inflate(AutoencoderKL.from_pretrained(args.image_vae), args.latent_channels)
    vae = vae.to(device, memory_format=torch.channels_last_3d)
    # Encoding in overlapping tiles gives the same latents as encoding at once; decoding does not.
    vae.use_framewise_encoding = False
    kernels = [weight for weight in vae.parameters() if weight.ndim == 5]
    # Muon takes matrices: copies of the kernels, one row for an output channel.
    matrices = [torch.nn.Parameter(weight.detach().flatten(1).clone()) for weight in kernels]
    others = [weight for weight in vae.parameters() if weight.ndim != 5]
    steppers = [
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.98)),
    ]
    step, spent_s = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        vae.load_state_dict(saved["vae"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    logger.info("%.2f M parameters", sum(p.numel() for p in vae.parameters()) / 1e6)
    logger.info("PSNR %.2f dB", measure(vae, unseen, device))

    budget_s, started = args.minutes * 60, time.monotonic() - spent_s
    while (spent_s := time.monotonic() - started) < budget_s:
        pace = min(1.0, (step + 1) / 40, max(1e-2, 2 * (1 - spent_s / budget_s)))
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = args.rate * pace
        signal = to_signal(turn(clips[torch.randint(len(clips), (args.batch,))]), device)
        with autocast(device):
            loss = objective(vae, signal, args.kl_weight)
        vae.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        with torch.no_grad():
            for matrix, kernel in zip(matrices, kernels, strict=True):
                matrix.copy_(kernel.flatten(1))
                matrix.grad = kernel.grad.flatten(1)
            for stepper in steppers:
                stepper.step()
            for matrix, kernel in zip(matrices, kernels, strict=True):
                kernel.copy_(matrix.view(kernel.shape))
        step += 1
        if step % 20 == 0:
            logger.info("step %d  %.0f s  loss %.4f", step, spent_s, loss.item())
        if step % 200 == 0:
            logger.info("PSNR %.2f dB", measure(vae, unseen, device))
            state = {"vae": vae.state_dict(), "step": step, "spent_s": spent_s}
            state["steppers"] = [stepper.state_dict() for stepper in steppers]
            torch.save(state, checkpoint)

    state = {"vae": vae.state_dict(), "step": step, "spent_s": spent_s}
    torch.save(state | {"steppers": [stepper.state_dict() for stepper in steppers]}, checkpoint)
    standardise(vae, paint(min(64, args.clips), seed=4), device)
    logger.info("done: %d steps, PSNR %.2f dB", step, measure(vae, paint(16, seed=5), device))
    vae.to(memory_format=torch.contiguous_format).save_pretrained(args.out / "model")


if __name__ == "__main__":
    main()
