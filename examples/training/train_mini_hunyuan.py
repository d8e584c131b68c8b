"""Trains mini-hunyuan: rectified flow on the latents of captioned clips, then guidance distillation.

    python examples/training/train_mini_hunyuan.py --vae runs/video_vae/model --out runs/video \
        --data runs/clips.pt --minutes 60
    python examples/training/train_mini_hunyuan.py --vae runs/video_vae/model \
        --out runs/video_guided --data runs/clips.pt --teacher runs/video/pipeline --minutes 30

Stage 1 learns v(x, sigma, caption) = noise - clip, with one caption in ten emptied. Stage 2
(`--teacher`, a pipeline's folder) teaches the guidance input g what the teacher does in two calls:
v(x, "") + g (v(x, caption) - v(x, "")), with g from 1 to 7. Its text encoders stay the teacher's. Both stages
resume from `--out`/checkpoint.pt, which holds the moving average of the weights as well; a folder for
`HunyuanVideoPipeline` stands in `--out`/pipeline.
"""

import argparse
import copy
import logging
import random
import time
from pathlib import Path

import moving_grounds
import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from grounding import learn_to_read
from mini_hunyuan import (
    SKIPPED_LAYERS,
    TEXT_LENGTH,
    TEXT_WIDTH,
    clip_tokenizer,
    llama_tokenizer,
    save,
    scheduler,
    templated,
    text_encoder,
    text_encoder_2,
    transformer,
)
from motion_grounding import of_clips
from optimization import autocast, average, falling, optimizers, set_pace
from torch import nn

from zcache.models.mini import motion

logger = logging.getLogger("train_mini_hunyuan")

CUT = DEFAULT_PROMPT_TEMPLATE["crop_start"]
SHIFT = scheduler().config.shift
MOST_GUIDANCE = 7.0  # HunyuanVideoPipeline's own default is 6
SHORT_LENGTH = 20  # tokens; the state at the end token does not see the padding to 77


class Flow(nn.Module):
    """The trained modules, and the velocity that they give together, as in the pipeline."""

    def __init__(self, latent_channels: int, heads: int, double: int, single: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder(llama_tokenizer())
        self.text_encoder_2 = text_encoder_2(clip_tokenizer())
        self.transformer = transformer(latent_channels, heads, double, single)

    def forward(
        self,
        noisy: torch.Tensor,  # (B, C, T, H, W)
        sigma: torch.Tensor,  # (B,)
        guidance: torch.Tensor,  # (B,)
        short: torch.Tensor,  # (B, SHORT_LENGTH)
        long: torch.Tensor,  # (B, CUT + TEXT_LENGTH)
        seen: torch.Tensor,  # (B, CUT + TEXT_LENGTH), 0 where there is padding
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The velocity (B, C, T, H, W), and what the encoders made of the caption."""
        pooled, states = self.read(short, long, seen)
        velocity = self.transformer(
            hidden_states=noisy,
            timestep=1000 * sigma,
            guidance=1000 * guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            encoder_attention_mask=seen[:, CUT:].to(noisy.dtype),
            return_dict=False,
        )[0]
        return velocity, pooled, states

    def read(
        self, short: torch.Tensor, long: torch.Tensor, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled text (B, D) and the states of the prompt's tokens (B, TEXT_LENGTH, D)."""
        pooled = self.text_encoder_2(short).pooler_output
        # The template before the prompt is the same for all: it is read once.
        template = self.text_encoder(long[:1, :CUT], use_cache=True).past_key_values
        template.batch_repeat_interleave(len(long))
        states = self.text_encoder(
            long[:, CUT:], attention_mask=seen, past_key_values=template, output_hidden_states=True
        )
        return pooled, states.hidden_states[-(SKIPPED_LAYERS + 1)]

    def parts(self) -> dict[str, nn.Module]:
        return dict(self.named_children())


class Captions:
    """Token ids of all captions, as the pipeline makes them; the last row is the empty caption."""

    def __init__(self, captions: list[str], device: str) -> None:
        spoken = [_vary(text, random.Random(index)) for index, text in enumerate(captions)] + [""]
        short = _pad(clip_tokenizer(), spoken, SHORT_LENGTH)
        long = _pad(llama_tokenizer(), [templated(text) for text in spoken], CUT + TEXT_LENGTH)
        self.short = short.input_ids.to(device)
        self.long = long.input_ids.to(device)
        self.seen = long.attention_mask.to(device)

    def __getitem__(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.short[rows], self.long[rows], self.seen[rows]


def _vary(text: str, rng: random.Random) -> str:
    return f"{text.capitalize()}." if rng.random() < 0.1 else text


def _pad(tokenizer: object, texts: list[str], length: int) -> dict:
    return tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )


@torch.no_grad()
def encode(vae: AutoencoderKLHunyuanVideo, count: int, seed: int, device: str) -> dict:
    """Paints training clips and keeps their latents in half precision."""
    rng = random.Random(seed)
    chosen = motion.samples(count, "train", seed)
    vae = vae.to(device, memory_format=torch.channels_last_3d)
    vae.use_framewise_encoding = False  # the same latents, in fewer passes
    latents = []
    for start in range(0, count, 16):
        clips = [moving_grounds.clip(actors, rng) for actors in chosen[start : start + 16]]
        pixels = torch.from_numpy(np.array(clips)).to(device).permute(0, 4, 1, 2, 3)
        with autocast(device):
            distribution = vae.encode(pixels.float() / 127.5 - 1).latent_dist
        latents.append((distribution.mode().float() * vae.config.scaling_factor).half().cpu())
        if start % 1600 == 0:
            logger.info("encoded %d of %d", start, count)
    return {"latents": torch.cat(latents), "captions": [motion.caption(a) for a in chosen]}


def dataset(vae: AutoencoderKLHunyuanVideo, path: Path, count: int, device: str) -> dict:
    """Reads the encoded clips, encoding first those that are missing."""
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
    """Draws noise levels as the sampler visits them: most lie near 1, where the layout is decided."""
    part = torch.rand(count, device=device)
    return SHIFT * part / (1 + (SHIFT - 1) * part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model")
    parser.add_argument("--data", type=Path, required=True, help="file of the encoded clips")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--start", type=Path, help="pipeline to begin stage 1 with")
    begin.add_argument("--teacher", type=Path, help="pipeline of stage 1; starts stage 2")
    parser.add_argument(
        "--minutes", type=float, default=60, help="CPU time of this process, resumed included"
    )
    parser.add_argument("--clips", type=int, default=12_000)
    parser.add_argument("--heads", type=int, default=6, help="of width 32")
    parser.add_argument("--double", type=int, default=2, help="double blocks")
    parser.add_argument("--single", type=int, default=6, help="single blocks")
    parser.add_argument("--read-steps", type=int, default=500, help="steps on text alone, first")
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

    vae = AutoencoderKLHunyuanVideo.from_pretrained(args.vae).eval()
    stored = dataset(vae, args.data, args.clips, device)
    latents, captions = stored["latents"].to(device), Captions(stored["captions"], device)
    vae = vae.to("cpu", memory_format=torch.contiguous_format)
    empty = len(stored["captions"])

    flow = Flow(vae.config.latent_channels, args.heads, args.double, args.single).to(device)
    # Nothing reads the Llama's last layers: they stay as they were drawn.
    flow.text_encoder.layers[-SKIPPED_LAYERS:].requires_grad_(False)
    flow.text_encoder.norm.requires_grad_(False)
    if known := args.teacher or args.start:
        pipe = HunyuanVideoPipeline.from_pretrained(known, vae=None, torch_dtype=torch.float32)
        for name, part in flow.parts().items():
            part.load_state_dict(getattr(pipe, name).state_dict())
    teacher = None
    if args.teacher:
        for name, part in flow.parts().items():
            part.requires_grad_(name == "transformer")
        teacher = copy.deepcopy(flow).requires_grad_(False)
        teacher.transformer.compile()
    smooth = copy.deepcopy(flow).requires_grad_(False)
    steppers = optimizers(flow, args.rate)
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
    tokens = captions.long[:, CUT:]
    grounding = of_clips(TEXT_WIDTH, llama_tokenizer(), stored["captions"], tokens).to(device)
    steppers.append(torch.optim.AdamW(grounding.parameters(), lr=args.rate))
    steppers[-1].param_groups[0]["initial_lr"] = args.rate
    if step == 0 and not known:
        learn_to_read(flow, grounding, captions, empty, args.read_steps)
    flow.transformer.compile()

    def store() -> None:
        state = {"flow": flow.state_dict(), "average": smooth.state_dict()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers[:2]]}
        state |= {"step": step, "seen": seen, "spent_s": spent_s}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        save(args.out / "pipeline", vae, smooth.parts())

    budget_s, started = args.minutes * 60, time.process_time() - spent_s
    stored_s, losses = spent_s, []
    while (spent_s := time.process_time() - started) < budget_s:
        pace = min((step + 1) / 60, falling(spent_s / budget_s, args.decay_from))
        set_pace(steppers, pace)
        rows = torch.randint(empty, (args.batch,), device=device)
        clip = latents[rows].float()
        rows[torch.rand(args.batch, device=device) < 0.1] = empty
        noise = torch.randn_like(clip)
        sigma = draw_sigma(args.batch, device)
        level = sigma[:, None, None, None, None]
        noisy = (1 - level) * clip + level * noise
        guidance = torch.ones_like(sigma)
        target = noise - clip
        with autocast(device):
            if teacher is not None:
                with torch.no_grad():
                    nothing = captions[torch.full_like(rows, empty)]
                    bare = teacher(noisy, sigma, guidance, *nothing)[0]
                    said = teacher(noisy, sigma, guidance, *captions[rows])[0]
                guidance = 1 + (MOST_GUIDANCE - 1) * torch.rand_like(sigma)
                scale = guidance[:, None, None, None, None]
                target = bare.float() + scale * (said.float() - bare.float())
            velocity, pooled, states = flow(noisy, sigma, guidance, *captions[rows])
        loss = (velocity.float() - target).square().mean()
        losses.append(loss.item())
        if teacher is None:
            loss = loss + 0.02 * grounding(pooled.float(), states.float(), rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        step, seen = step + 1, seen + args.batch
        average(smooth, flow, min(0.998, step / (step + 20)))
        if step % 20 == 0:
            recent = np.mean(losses[-20:])
            logger.info("step %d  %.0f s  loss %.4f  pace %.2f", step, spent_s, recent, pace)
        if spent_s - stored_s > args.save_minutes * 60:
            stored_s = spent_s
            store()
    store()
    logger.info("done: %d steps, %d samples, %.0f s", step, seen, spent_s)


if __name__ == "__main__":
    main()
