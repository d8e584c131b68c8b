"""Trains mini-flux: rectified flow on the latents of captioned scenes, then guidance distillation.

    python examples/training/train_mini_flux.py --vae runs/vae/model --data runs/scenes.pt \\
        --out runs/flow --minutes 55
    python examples/training/train_mini_flux.py --vae runs/vae/model --data runs/scenes.pt \\
        --out runs/guided --teacher runs/flow/checkpoint.pt --minutes 10

Stage 1 learns v(x, sigma, caption) = noise - image, with one caption in ten emptied. Stage 2
(`--teacher`) teaches the guidance input g what the teacher does in two calls:
v(x, "") + g (v(x, caption) - v(x, "")). Both stages resume from `--out`/checkpoint.pt, which holds
the moving average of the weights as well; a folder for `FluxPipeline` stands in `--out`/pipeline.
"""

import argparse
import copy
import logging
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from grounding import learn_to_read, of_scenes
from mini_flux import (
    POOLED_LENGTH,
    TEXT_LENGTH,
    TEXT_WIDTH,
    clip_tokenizer,
    image_ids,
    pack,
    save,
    t5_tokenizer,
    text_encoder,
    text_encoder_2,
    transformer,
)
from optimization import average, optimizers, set_pace
from torch import nn

from zcache.models.mini import scenes

logger = logging.getLogger("train_mini_flux")

PATCHES = 8  # image tokens on a side
SHIFT = 0.4675  # the scheduler's shift at 64 image tokens


class Flow(nn.Module):
    """The trained modules, and the velocity that they give together."""

    def __init__(
        self, latent_channels: int, double: int, single: int, vocabulary: list[str] | None = None
    ) -> None:
        super().__init__()
        self.text_encoder = text_encoder(clip_tokenizer(vocabulary))
        self.text_encoder_2 = text_encoder_2(t5_tokenizer(vocabulary))
        self.transformer = transformer(latent_channels, double, single)
        self.register_buffer("image_ids", image_ids(PATCHES), persistent=False)
        self.register_buffer("text_ids", torch.zeros(TEXT_LENGTH, 3), persistent=False)

    def forward(
        self,
        noisy: torch.Tensor,  # (B, L, C)
        sigma: torch.Tensor,  # (B,)
        guidance: torch.Tensor,  # (B,)
        short: torch.Tensor,  # (B, POOLED_LENGTH)
        long: torch.Tensor,  # (B, TEXT_LENGTH)
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The velocity (B, L, C), and what the encoders made of the caption."""
        pooled, states = self.read(short, long)
        velocity = self.transformer(
            hidden_states=noisy,
            timestep=sigma,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=self.text_ids,
            img_ids=self.image_ids,
            return_dict=False,
        )[0]
        return velocity, pooled, states

    def read(self, short: torch.Tensor, long: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled text (B, D) and the states of its tokens (B, TEXT_LENGTH, D)."""
        pooled = self.text_encoder(short, return_dict=False)[1]
        return pooled, self.text_encoder_2(long, return_dict=False)[0]

    def parts(self) -> dict[str, nn.Module]:
        return dict(self.named_children())


class Captions:
    """Token ids of all captions; the last row is the empty caption."""

    def __init__(
        self, captions: list[str], device: str, vocabulary: list[str] | None = None
    ) -> None:
        spoken = [_vary(text, random.Random(index)) for index, text in enumerate(captions)] + [""]
        clip, t5 = clip_tokenizer(vocabulary), t5_tokenizer(vocabulary)
        self.short = _ids(clip, spoken, POOLED_LENGTH).to(device)
        self.long = _ids(t5, spoken, TEXT_LENGTH).to(device)

    def __getitem__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.short[rows], self.long[rows]


def _vary(text: str, rng: random.Random) -> str:
    """Says one caption in ten with a capital and a full stop, one in ten without its background."""
    manner = rng.random()
    if manner < 0.1:
        return f"{text.capitalize()}."
    return text.split(" on a ")[0] if manner < 0.2 else text


def _ids(tokenizer: object, texts: list[str], length: int) -> torch.Tensor:
    return tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids


@torch.no_grad()
def encode(vae: AutoencoderKL, count: int, seed: int, device: str) -> dict:
    """Paints training scenes and keeps their packed latents in half precision."""
    rng = random.Random(seed)
    chosen = scenes.samples(count, "train", seed)
    vae = vae.to(device, memory_format=torch.channels_last)
    packed = []
    for start in range(0, count, 32):
        pictures = np.stack([scenes.draw(s, rng) for s in chosen[start : start + 32]])
        signal = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(device, torch.bfloat16):
            latents = vae.encode(signal).latent_dist.mode().float()
        latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        packed.append(pack(latents).half().cpu())
        if start % 3200 == 0:
            logger.info("encoded %d of %d", start, count)
    return {"latents": torch.cat(packed), "captions": [scenes.caption(s) for s in chosen]}


def dataset(vae: AutoencoderKL, path: Path, count: int, device: str) -> dict:
    """Reads the encoded scenes, encoding first those that are missing."""
    stored = torch.load(path) if path.exists() else {"latents": torch.empty(0), "captions": []}
    missing = count - len(stored["captions"])
    if missing > 0:
        more = encode(vae, missing, 1000 + len(stored["captions"]), device)
        if stored["captions"]:
            more["latents"] = torch.cat([stored["latents"], more["latents"]])
        stored = {"latents": more["latents"], "captions": stored["captions"] + more["captions"]}
        torch.save(stored, path)
    return stored


def draw_sigma(count: int, device: str) -> torch.Tensor:
    """Draws noise levels, two in three near pure noise, where the caption alone decides."""
    centre = torch.where(torch.rand(count, device=device) < 0.65, 2.0, SHIFT)
    return torch.sigmoid(centre + 1.2 * torch.randn(count, device=device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="file of the encoded scenes")
    parser.add_argument("--teacher", type=Path, help="checkpoint of stage 1; starts stage 2")
    parser.add_argument("--start", type=Path, help="pipeline folder whose weights to begin with")
    parser.add_argument("--minutes", type=float, default=50, help="training time, resumed included")
    parser.add_argument("--scenes", type=int, default=24_000)
    parser.add_argument("--double", type=int, default=2)
    parser.add_argument("--single", type=int, default=5)
    parser.add_argument("--read-steps", type=int, default=0, help="steps on text alone, first")
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

    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    stored = dataset(vae, args.data, args.scenes, device)
    latents, captions = stored["latents"].to(device), Captions(stored["captions"], device)
    vae = vae.to("cpu", memory_format=torch.contiguous_format)
    empty = len(stored["captions"])

    flow = Flow(vae.config.latent_channels, args.double, args.single).to(device)
    if args.start:
        for name, part in flow.parts().items():
            part.load_state_dict(type(part).from_pretrained(args.start / name).state_dict())
    teacher = None
    if args.teacher:
        flow.load_state_dict(torch.load(args.teacher, map_location=device)["average"])
        teacher = copy.deepcopy(flow).eval().requires_grad_(False)
        teacher.transformer.compile()
    smooth = copy.deepcopy(flow).eval().requires_grad_(False)
    steppers = optimizers(flow, args.rate, adam_decay=0.01)
    step, seen, spent_s = 0, 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        flow.load_state_dict(saved["flow"])
        smooth.load_state_dict(saved["average"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, seen, spent_s = saved["step"], saved["seen"], saved["spent_s"]
    for name, part in flow.parts().items():
        logger.info("%s: %.2f M parameters", name, sum(p.numel() for p in part.parameters()) / 1e6)
    grounding = of_scenes(TEXT_WIDTH, t5_tokenizer(), stored["captions"], captions.long).to(device)
    steppers.append(torch.optim.AdamW(grounding.parameters(), lr=args.rate))
    steppers[-1].param_groups[0]["initial_lr"] = args.rate
    if args.read_steps:
        learn_to_read(flow, grounding, captions, empty, args.read_steps)
        smooth.text_encoder.load_state_dict(flow.text_encoder.state_dict())
        smooth.text_encoder_2.load_state_dict(flow.text_encoder_2.state_dict())
    flow.transformer.compile()

    def store() -> None:
        state = {"flow": flow.state_dict(), "average": smooth.state_dict()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers[:2]]}
        state |= {"step": step, "seen": seen, "spent_s": spent_s}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        save(args.out / "pipeline", vae, smooth.parts())

    budget_s, started = args.minutes * 60, time.monotonic() - spent_s
    stored_s, losses = spent_s, []
    while (spent_s := time.monotonic() - started) < budget_s:
        progress = spent_s / budget_s
        pace = min(1.0, (step + 1) / 60, (1 - progress) / (1 - args.decay_from))
        set_pace(steppers, pace)
        rows = torch.randint(empty, (args.batch,), device=device)
        image = latents[rows].float()
        rows[torch.rand(args.batch, device=device) < 0.1] = empty
        noise = torch.randn_like(image)
        sigma = draw_sigma(args.batch, device)
        level = sigma[:, None, None]
        noisy = (1 - level) * image + level * noise
        guidance = torch.ones_like(sigma)
        target = noise - image
        with torch.autocast(device, torch.bfloat16):
            if teacher is not None:
                with torch.no_grad():
                    bare = teacher(noisy, sigma, guidance, *captions[torch.full_like(rows, empty)])[
                        0
                    ]
                    said = teacher(noisy, sigma, guidance, *captions[rows])[0]
                guidance = 1 + 4 * torch.rand_like(sigma)
                target = bare.float() + guidance[:, None, None] * (said.float() - bare.float())
            velocity, pooled, states = flow(noisy, sigma, guidance, *captions[rows])
        loss = (velocity.float() - target).square().mean()
        (loss + 0.02 * grounding(pooled.float(), states.float(), rows)).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        step, seen = step + 1, seen + args.batch
        average(smooth, flow, min(0.998, step / (step + 20)))
        losses.append(loss.item())
        if step % 20 == 0:
            logger.info(
                "step %d  %.0f s  loss %.4f  rate %.1e",
                step,
                spent_s,
                np.mean(losses[-20:]),
                args.rate * pace,
            )
        if spent_s - stored_s > args.save_minutes * 60:
            stored_s = spent_s
            store()
    store()
    logger.info("done: %d steps, %d samples, %.0f s", step, seen, spent_s)


if __name__ == "__main__":
    main()
