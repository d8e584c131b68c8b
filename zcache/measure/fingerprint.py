"""A name for a pipeline's weights, so that what was measured with others is not taken for theirs."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 16  # values of a tensor that are looked at


def fingerprint(pipe: Any) -> str:
    """A hash of the names, shapes, precisions and some values of all parts' weights, and of which adapters (LoRA)
    are on, at which scale.

    Values that lie on no device (offloaded weights) are left out.
    """
    made = hashlib.sha256()
    parts = getattr(pipe, "components", {})
    for name, part in sorted(parts.items()):
        if isinstance(part, nn.Module):
            for key, tensor in part.state_dict().items():
                made.update(f"{name}.{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                made.update(_values(tensor))
            for key, module in part.named_modules():
                if isinstance(getattr(module, "disable_adapters", None), bool):  # peft's
                    made.update(f"{name}.{key} {_adapters(module)}".encode())
    return made.hexdigest()[:16]


def _adapters(layer: Any) -> list[Any]:
    scaling = getattr(layer, "scaling", {})
    merged = getattr(layer, "merged_adapters", [])
    return [layer.disable_adapters, list(layer.active_adapters), sorted(scaling.items()), merged]


def _values(tensor: Tensor) -> bytes:
    if tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter) or not tensor.numel():
        return b""
    flat = tensor.detach().reshape(-1)
    some = flat[:: max(1, len(flat) // SAMPLES)][:SAMPLES]
    return some.cpu().contiguous().view(torch.uint8).numpy().tobytes()
