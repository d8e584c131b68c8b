"""Trains mini-flux on emoji scenes: rectified flow on latents, then guidance distillation.

    python examples/training/train_mini_flux.py --emoji emoji --vae runs/vae/model \
        --out runs/flow --start zcache/checkpoints/mini-flux --minutes 100
    python examples/training/train_mini_flux.py --emoji emoji --vae runs/vae/model \
        --out runs/guided --teacher runs/flow/pipeline --data runs/flow/scenes.pt --minutes 15

Stage 1 learns v(x, sigma, caption) = noise - image, with one caption in ten emptied. Stage 2
(`--teacher`) teaches the guidance input g what the teacher does in two calls with a scale of
1 + GAIN (g - 1): v(x, "") + scale (v(x, caption) - v(x, "")). Both resume from `--out`/checkpoint.pt; a folder for
`FluxPipeline` stands in `--out`/pipeline.
"""

import argparse
import copy
import logging
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline
from emoji_pictures import read
from emoji_scenes import draw, renderings
from grounding import learn_to_read
from mini_flux import TEXT_WIDTH, Captions, Flow, pack, save, t5_tokenizer
from optimization import autocast, average, falling, optimizers, set_pace
from scene_grounding import of_scenes

from zcache.models.mini.scenes import Scene, caption, samples

logger = logging.getLogger("train_mini_flux")

VARIATIONS = 4  # times that the same caption may be painted anew
MOST_GUIDANCE = 4.0
GAIN = 2.2  # FLUX.1-dev's 3.5 stands for a scale of 6.5: the teacher is hard, and sharp, there
SHIFT = 0.4675  # the scheduler's shift at 64 image tokens


@torch.no_grad()
def encode(vae: AutoencoderKL, folder: Path, count: int) -> dict:
    """Paints training scenes; keeps their packed latents (N, L, 4C) in half precision."""
    rng, pictures = random.Random(1), renderings(read(folder))
    scenes = [s for s in samples(count // VARIATIONS, "train", 2) for _ in range(VARIATIONS)]
    packed = []
    for start in range(0, len(scenes), 32):
        drawn = [np.asarray(draw(s, pictures, rng)) for s in scenes[start : start + 32]]
        signal = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with autocast():
            latents = vae.encode(signal).latent_dist.mode().float()
        packed.append(pack(latents).half())
        if start % 3200 == 0:
            logger.info("encoded %d of %d", start, count)
    latents = torch.cat(packed)
    shift, scale = latents.float().mean().item(), 1 / latents.float().std().item()
    described = [(s.nouns, s.relation, s.tone, s.texture) for s in scenes]
    return {"latents": latents, "scenes": described, "shift": shift, "scale": scale}


def draw_sigma(count: int) -> torch.Tensor:
    """Draws noise levels, two in three near pure noise, where the caption alone decides."""
    centre = torch.where(torch.rand(count) < 0.65, 2.0, SHIFT)
    return torch.sigmoid(centre + 1.2 * torch.randn(count))


def begin_with(flow: Flow, folder: Path) -> None:
    """Gives a flow the weights of a pipeline's folder."""
    pipe = FluxPipeline.from_pretrained(folder, vae=None, torch_dtype=torch.float32)
    for name, part in flow.parts().items():
        part.load_state_dict(getattr(pipe, name).state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji", type=Path, required=True, help="folder of emoji_pictures.py")
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="file of the encoded scenes")
    parser.add_argument("--teacher", type=Path, help="pipeline of stage 1; starts stage 2")
    parser.add_argument("--start", type=Path, help="pipeline to begin with; else the teacher")
    parser.add_argument(
        "--minutes", type=float, default=90, help="CPU time of this process, resumed included"
    )
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--double", type=int, default=2)
    parser.add_argument("--single", type=int, default=5)
    parser.add_argument("--read-steps", type=int, default=500, help="steps on text alone, first")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay-from", type=float, default=0.6, help="part of the time")
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(time.time_ns() % 2**31)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, data = args.out / "checkpoint.pt", args.data or args.out / "scenes.pt"

    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    if not data.exists():
        torch.save(encode(vae, args.emoji, args.scenes), data)
    stored = torch.load(data)
    vae.register_to_config(shift_factor=stored["shift"], scaling_factor=stored["scale"])
    scenes = [Scene(*one) for one in stored["scenes"]]
    captions = Captions([caption(scene) for scene in scenes])
    empty = len(scenes)

    flow = Flow(vae.config.latent_channels, args.double, args.single)
    if begin := args.start or args.teacher:
        begin_with(flow, begin)
    teacher = None
    if args.teacher:
        teacher = copy.deepcopy(flow).eval().requires_grad_(False)
        begin_with(teacher, args.teacher)
        teacher.transformer.compile()
    smooth = copy.deepcopy(flow).eval().requires_grad_(False)
    steppers = optimizers(flow, args.rate, adam_decay=0.01)
    step, spent_s = 0, 0.0
    long = captions.long[:empty].tolist()
    grounding = of_scenes(TEXT_WIDTH, t5_tokenizer(), scenes, long)
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        flow.load_state_dict(saved["flow"])
        smooth.load_state_dict(saved["average"])
        grounding.load_state_dict(saved["grounding"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    elif args.read_steps and teacher is None:
        learn_to_read(flow, grounding, captions, empty, args.read_steps)
        smooth.load_state_dict(flow.state_dict())
    steppers.append(torch.optim.AdamW(grounding.parameters(), lr=args.rate))
    steppers[-1].param_groups[0]["initial_lr"] = args.rate
    flow.transformer.compile()

    def store() -> None:
        state = {"flow": flow.state_dict(), "average": smooth.state_dict()}
        state |= {"grounding": grounding.state_dict()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers[:2]]}
        torch.save(state | {"step": step, "spent_s": spent_s}, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        save(args.out / "pipeline", vae, smooth.parts())

    def target_of(
        noisy: torch.Tensor, sigma: torch.Tensor, guidance: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """What the teacher says in two calls, (B, L, C)."""
        plain, nothing = torch.ones_like(sigma), torch.full_like(rows, empty)
        with torch.no_grad(), autocast():
            bare = teacher(noisy, sigma, plain, *captions[nothing])[0].float()
            said = teacher(noisy, sigma, plain, *captions[rows])[0].float()
        scale = 1 + GAIN * (guidance - 1)
        return bare + scale[:, None, None] * (said - bare)

    budget_s, started = args.minutes * 60, time.process_time() - spent_s
    stored_s, losses = spent_s, []
    while (spent_s := time.process_time() - started) < budget_s:
        pace = min((step + 1) / 60, falling(spent_s / budget_s, args.decay_from))
        set_pace(steppers, pace)
        rows = torch.randint(empty, (args.batch,))
        image = (stored["latents"][rows].float() - stored["shift"]) * stored["scale"]
        rows[torch.rand(args.batch) < 0.1] = empty
        noise, sigma = torch.randn_like(image), draw_sigma(args.batch)
        level = sigma[:, None, None]
        noisy = (1 - level) * image + level * noise
        guidance, target = torch.ones_like(sigma), noise - image
        if teacher is not None:
            guidance = 1 + (MOST_GUIDANCE - 1) * torch.rand_like(sigma)
            target = target_of(noisy, sigma, guidance, rows)
        with autocast():
            velocity, pooled, states = flow(noisy, sigma, guidance, *captions[rows])
        loss = (velocity.float() - target).square().mean()
        (loss + 0.02 * grounding(pooled.float(), states.float(), rows)).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        step += 1
        average(smooth, flow, min(0.998, step / (step + 20)))
        losses.append(loss.item())
        if step % 20 == 0:
            recent = np.mean(losses[-20:])
            logger.info("step %d  %.0f s  loss %.4f  pace %.2f", step, spent_s, recent, pace)
        if spent_s - stored_s > args.save_minutes * 60:
            stored_s = spent_s
            store()
    store()
    logger.info("done: %d steps, %.0f s", step, spent_s)


if __name__ == "__main__":
    main()
