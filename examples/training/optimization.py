"""What the training loops share: Muon beside AdamW, a pace that falls to zero, a moving average, precision."""

import math

import torch
from torch import nn


def optimizers(
    model: nn.Module, rate: float, adam_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """Gives the matrices of the transformer's blocks to Muon and the rest to AdamW."""
    matrices, others = [], []
    for name, weight in model.named_parameters():
        within = "transformer_blocks" in name and weight.ndim == 2 and "norm" not in name
        if weight.requires_grad:
            (matrices if within else others).append(weight)
    steppers = [
        torch.optim.Muon(matrices, lr=2 * rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=adam_decay, betas=(0.9, 0.98)),
    ]
    for stepper in steppers:
        for group in stepper.param_groups:
            group["initial_lr"] = group["lr"]
    return steppers


def set_pace(steppers: list[torch.optim.Optimizer], pace: float) -> None:
    """Sets every learning rate to `pace` times its first value."""
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = group["initial_lr"] * pace


def falling(progress: float, start: float) -> float:
    """1 until `start`, then half a cosine down to 0 at the end; both are parts of the time."""
    done = max(0.0, progress - start) / (1 - start)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))


def average(target: nn.Module, source: nn.Module, decay: float) -> None:
    """target <- decay target + (1 - decay) source."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), 1 - decay)


def autocast(device: str = "cpu") -> torch.autocast:
    """bfloat16 where it is the faster: on a GPU, and on a CPU with matrix tiles (AMX)."""
    faster = device != "cpu" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device, torch.bfloat16, enabled=faster)
