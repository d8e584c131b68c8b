"""A text for an argument of a pipeline's call, the same for the same contents and another for others."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image

PLAIN = str | int | float | complex | torch.dtype | torch.device | PurePath


def text(value: Any) -> str:
    """What an argument is: plain values as they are written, of tensors, arrays and pictures a hash of every byte, of
    generators one of their state.

    Raises:
        TypeError: somewhere in it is a value of another kind, such as a function, whose contents have no name.
    """
    if isinstance(value, PLAIN) and not isinstance(value, np.generic):
        return repr(value)
    if value is None:
        return type(value).__name__
    if isinstance(value, list | tuple):
        return _listed(value)
    if isinstance(value, dict):
        named = {repr(key): text(each) for key, each in value.items()}
        return json.dumps(named, sort_keys=True)
    if isinstance(value, torch.Generator):
        return f"Generator {value.device} {_hash(value.get_state().numpy().tobytes())}"
    if isinstance(value, Image.Image):
        return f"Image {value.size} {value.mode} {_hash(value.tobytes(), repr(value.getpalette()).encode())}"
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
        flat = value.detach().cpu().resolve_conj().resolve_neg().reshape(-1)
        flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
        return (
            f"{tuple(value.shape)} {value.dtype} {_hash(flat.view(torch.uint8).numpy().tobytes())}"
        )
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{value.shape} {value.dtype} {_hash(value.tobytes())}"
    raise TypeError(f"{type(value).__name__}, whose contents have no name")


def _listed(values: list[Any] | tuple[Any, ...]) -> str:
    """As Python writes a list or a tuple."""
    written = ", ".join(map(text, values))
    if isinstance(values, list):
        return f"[{written}]"
    return f"({written},)" if len(values) == 1 else f"({written})"


def _hash(*contents: bytes) -> str:
    made = hashlib.sha256()
    for each in contents:
        made.update(each)
    return made.hexdigest()[:16]
