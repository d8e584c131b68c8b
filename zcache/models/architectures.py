"""The paper's three transformers at full size without weights, and the arguments of a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError


@dataclass(frozen=True)
class Shape:
    """What a run makes: pixels, frames, tokens of text; `batch` counts pictures."""

    height: int
    width: int
    frames: int = 1
    text_tokens: int = 512
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            if side < 16 or side % 16:
                raise ConfigError(f"{name} is {side}; give a multiple of 16 from 16 up")
        if self.frames < 1 or (self.frames - 1) % 4:
            raise ConfigError(f"frames is {self.frames}; give 4k + 1, for example 65")


@dataclass(frozen=True)
class Architecture:
    """A full-size model: its default shape, and what its transformer is called with.

    Attributes:
        arguments: of a call, by shape and config; raises ConfigError for a shape that the model does not draw.
        dtype: of its weights.
        flow: whether it predicts a flow.
        guided: whether its pipeline makes a new tensor of the transformer's output before the scheduler's
            step, and another of the latent after it (classifier-free guidance within the batch).
        latent_dtype: of the latents between two steps, where it is not the weights'.
    """

    name: str
    shape: Shape
    arguments: Callable[[Shape, dict[str, Any]], dict[str, Any]]
    dtype: torch.dtype = torch.bfloat16
    flow: bool = True
    guided: bool = False
    latent_dtype: torch.dtype | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The published config of the transformer; it ships with the package."""
        path = resources.files("zcache") / "data" / f"{self.name}.json"
        return json.loads(path.read_text())

    def build(self, device: str = "meta", dtype: torch.dtype = torch.bfloat16) -> nn.Module:
        """Return the transformer; on `meta` it takes no memory, elsewhere its weights are
        random."""
        import diffusers

        config = self.config
        cls = getattr(diffusers, config.pop("_class_name"))
        with torch.device(device):
            return cls(**config).to(dtype).eval()


def _floats(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16)


def _flux(shape: Shape, config: dict[str, Any]) -> dict[str, Any]:
    tokens = (shape.height // 16) * (shape.width // 16)
    return {
        "hidden_states": _floats(shape.batch, tokens, config["in_channels"]),
        "encoder_hidden_states": _floats(
            shape.batch, shape.text_tokens, config["joint_attention_dim"]
        ),
        "pooled_projections": _floats(shape.batch, config["pooled_projection_dim"]),
        "timestep": torch.empty(shape.batch),
        "guidance": torch.empty(shape.batch),
        "img_ids": torch.empty(tokens, 3),
        "txt_ids": torch.empty(shape.text_tokens, 3),
        "return_dict": False,
    }


def _hunyuan(shape: Shape, config: dict[str, Any]) -> dict[str, Any]:
    frames = (shape.frames - 1) // 4 + 1
    size = (shape.batch, config["in_channels"], frames, shape.height // 8, shape.width // 8)
    return {
        "hidden_states": _floats(*size),
        "timestep": torch.empty(shape.batch),
        "encoder_hidden_states": _floats(shape.batch, shape.text_tokens, config["text_embed_dim"]),
        "encoder_attention_mask": torch.ones(shape.batch, shape.text_tokens),
        "pooled_projections": _floats(shape.batch, config["pooled_projection_dim"]),
        "guidance": torch.empty(shape.batch),
        "return_dict": False,
    }


def _dit(shape: Shape, config: dict[str, Any]) -> dict[str, Any]:
    """With classifier-free guidance: the batch holds every picture twice.

    Raises:
        ConfigError: the picture is no square.
    """
    if shape.height != shape.width:
        raise ConfigError(
            f"height is {shape.height} and width {shape.width}, but dit-xl-2 draws squares; give both alike"
        )
    batch = 2 * shape.batch
    return {
        "hidden_states": _floats(batch, config["in_channels"], shape.height // 8, shape.width // 8),
        "timestep": torch.zeros(batch, dtype=torch.long),
        "class_labels": torch.zeros(batch, dtype=torch.long),
        "return_dict": False,
    }


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("flux-dev", Shape(1024, 1024), _flux),
        Architecture(
            "hunyuan-video",
            Shape(480, 640, 65, text_tokens=256),
            _hunyuan,
            latent_dtype=torch.float32,
        ),
        Architecture("dit-xl-2", Shape(256, 256, text_tokens=0), _dit, flow=False, guided=True),
    )
}


def find(name: str) -> Architecture:
    """Return the architecture of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"architecture {name!r} is unknown; choose one of: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]
