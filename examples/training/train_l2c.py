"""Learn the router of Learning-to-Cache (`l2c:30`) on a class model: which layers of every second step may
be reused from the step before.

    python examples/training/train_l2c.py --model mini-dit --steps 30

Source: arXiv:2406.01733. For every routed step and layer a score b in (0, 1) is learned, the weights
stay as they are: the layer returns b x (its output) + (1 - b) x (its output one step before), and the
scores minimise the squared error of the predicted noise to the uncached prediction, plus a penalty on
their sum. Then the lowest scores are set to 0, the others to 1. Chosen here, and why:

- The states are those of the model's own guided runs (published: noised pictures of its training set),
  so no pictures are needed and the router learns on what sampling visits.
- The penalty begins at that quantile of the first gradients, and moves until as many scores are above
  a half as layers are to compute; the threshold is where that share lies (published: a penalty and a
  threshold found by trial). The share is that of the row in the paper's Table 1: 11.55 TFLOPs of the
  14.24 that 30 steps of DiT-XL/2 take, so 37.8 % of the layers of the routed steps are reused.
- A learning rate of 0.05 and 60 updates of a step's scores (published: 0.001 and thousands), and AdamW's
  second moment over 20 of them, since errors of different steps are decades apart.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zcache.caching import adapters
from zcache.caching.stand_ins import OutputRecorder, StandIn, swapped
from zcache.errors import ConfigError
from zcache.evaluation.drawing import sample_as_in_the_paper
from zcache.evaluation.rivals.layerwise.layers import Layer, layers
from zcache.evaluation.rivals.layerwise.router import FOLDER, Router, marks
from zcache.models import loading

Calls = list[tuple[dict[str, Any], Tensor]]  # the denoiser's arguments and output, step by step


class Blend(StandIn):
    """Returns weight x (the layer's output) + (1 - weight) x (a kept one)."""

    def __init__(self, original: nn.Module, kept: Tensor, weight: Tensor | float) -> None:
        super().__init__(original)
        self.__dict__.update(kept=kept, weight=weight)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.weight * self.original(*args, **kwargs) + (1 - self.weight) * self.kept


def watched(pipe: Any, call: dict[str, Any], classes: list[int], seed: int, steps: int) -> Calls:
    """Draw one picture of each class without a cache; return what the denoiser was asked and said."""
    seen: Calls = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        said = output[0] if isinstance(output, tuple) else output.sample
        seen.append(({"hidden_states": args[0], **kwargs}, said))

    hook = pipe.transformer.register_forward_hook(note, with_kwargs=True)
    try:
        pipe(
            **{**call, "class_labels": classes, "num_inference_steps": steps, "output_type": "np"},
            generator=torch.Generator("cpu").manual_seed(seed),
        )
    finally:
        hook.remove()
    return seen


def kept_outputs(transformer: nn.Module, known: list[Layer], call: dict[str, Any]) -> list[Tensor]:
    """Return every layer's output in one uncached call."""
    recorders = [OutputRecorder(layer.module) for layer in known]
    with torch.no_grad(), swapped((*lay.place, r) for lay, r in zip(known, recorders, strict=True)):
        transformer(**call)
    return [recorder.seen for recorder in recorders]


def error(transformer: nn.Module, known: list[Layer], calls: Calls, step: int, row: Any) -> Tensor:
    """Return the mean squared error of the noise that a routed step predicts with these scores."""
    kept = kept_outputs(transformer, known, calls[step - 1][0])
    arguments, said = calls[step]
    blends = [Blend(lay.module, k, b) for lay, k, b in zip(known, kept, row, strict=True)]
    with swapped((*layer.place, blend) for layer, blend in zip(known, blends, strict=True)):
        found = transformer(**arguments)
    found = found[0] if isinstance(found, tuple) else found.sample
    channels = arguments["hidden_states"].shape[1]  # the others are a variance that DDIM ignores
    return (found[:, :channels] - said[:, :channels]).square().mean()


def learn(
    transformer: nn.Module,
    known: list[Layer],
    batches: list[Calls],
    cached: float,
    updates: int,
    rate: float = 0.05,
    seed: int = 0,
) -> tuple[tuple[bool, ...], ...]:
    """Return for every routed step which layers compute: all but a share `cached` of them all."""
    draw = random.Random(seed)
    routed = range(1, len(batches[0]), 2)
    logits = [nn.Parameter(torch.zeros(len(known))) for _ in routed]
    for row, step in zip(logits, routed, strict=True):
        error(transformer, known, batches[0], step, row.sigmoid()).backward()
    pulls = torch.cat([row.grad.neg() * 4 for row in logits if row.grad is not None])
    penalty = pulls.quantile(cached).clamp_min(1e-12).item()  # d sigmoid(0) is a quarter
    optimizer = torch.optim.AdamW(logits, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    for update in range(updates * len(routed)):
        row = draw.randrange(len(routed))
        weights = logits[row].sigmoid()
        loss = error(transformer, known, draw.choice(batches), routed[row], weights)
        optimizer.zero_grad()
        (loss + penalty * weights.sum()).backward()
        optimizer.step()
        with torch.no_grad():
            logits[row].clamp_(-5, 5)
            share = (torch.stack(logits) > 0).float().mean().item()
        penalty *= math.exp(0.05 * (share - (1 - cached)))
        if update % (5 * len(routed)) == 0:
            print(
                f"update {update}: error {loss.item():.3g}, penalty {penalty:.3g}, "
                f"{share:.1%} of the layers compute"
            )
    scores = torch.stack([row.detach() for row in logits])
    order = scores.flatten().argsort()
    computed = torch.ones(scores.numel(), dtype=torch.bool)
    computed[order[: round(cached * scores.numel())]] = False
    return tuple(tuple(row) for row in computed.view_as(scores).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-dit", help="a class model")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--cached", type=float, default=0.378, help="share of a routed step's layers"
    )
    parser.add_argument("--updates", type=int, default=60, help="of each routed step's scores")
    parser.add_argument("--seed", type=int, default=10_000, help="of the first batch's noise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="default: where the product looks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = loading.find(options.model)
    if model.kind != "class":
        raise ConfigError(f"model {model.name} makes {model.kind}; L2C is for class models")
    pipe = loading.load(model, options.device)
    sample_as_in_the_paper(pipe, model.name)
    pipe.set_progress_bar_config(disable=True)
    transformer = pipe.transformer.requires_grad_(False)
    adapter = adapters.find(transformer)
    if adapter is None:
        raise ConfigError(f"{type(transformer).__name__} is not described")
    known = layers(transformer, adapter)

    labels = list(loading.labels(model).values())
    raw = {"steps": options.steps, "interval": 1, "label": labels[0]}
    call = loading.call_arguments(model, loading.asked(model, **raw))
    draw = random.Random(options.seed)
    batches = [
        watched(pipe, call, draw.choices(labels, k=options.batch), options.seed + at, options.steps)
        for at in range(0, options.pictures, options.batch)
    ]
    computed = learn(transformer, known, batches, options.cached, options.updates)

    shuffled = torch.tensor(computed).flatten()[torch.randperm(len(computed) * len(known))]
    rows = {"learned": computed, "shuffled": shuffled.view(len(computed), -1).tolist()}
    with torch.no_grad():
        for name, router in rows.items():
            found = [
                error(transformer, known, batch, 2 * i + 1, [float(kept) for kept in row])
                for batch in batches[:2]
                for i, row in enumerate(router)
            ]
            print(f"error of the noise, {name} router: {sum(found).item() / len(found):.4g}")
    router = Router(model.name, options.steps, computed, marks(known))
    out = options.out or FOLDER / f"l2c-{model.name}-{options.steps}.json"
    router.save(out)
    print(f"{out}: {router.cached:.1%} of the layers of the routed steps are reused")


if __name__ == "__main__":
    main()
