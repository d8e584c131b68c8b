"""What a request costs a model before the model is loaded, in well under a second.

The passes of the full-size and the embedded models were counted once at the shapes the app offers and ship
as a table (`examples/count_costs.py` writes it). Of any other pipeline folder they are counted on the
meta device from its configuration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..method.config import ZCacheConfig
from ..method.granularity import settled
from ..method.guided import GUIDED
from ..method.weights import Fitted, WeightFunction
from ..models import loading
from ..models.architectures import ARCHITECTURES, Architecture, Shape
from ..models.catalogue import Model, usual_guidance
from ..models.folder import check_layers
from ..models.request import Request
from .flop_estimate import Estimate, PassCost, count, pass_cost, price

# The full-size architecture that a transformer class is called like.
LIKE = {
    "FluxTransformer2DModel": "flux-dev",
    "HunyuanVideoTransformer3DModel": "hunyuan-video",
    "DiTTransformer2DModel": "dit-xl-2",
}
VAE_SCALE = 8  # pixels a latent stands for in the full-size models
# What diffusers' pipelines draw when asked for no size: latents, or pixels and frames.
FLUX_LATENTS, HUNYUAN_PIXELS, HUNYUAN_FRAMES = 128, (720, 1280), 129


@dataclass(frozen=True)
class Stored(Architecture):
    """The architecture of a pipeline folder."""

    folder: Path = Path()

    @property
    def config(self) -> dict[str, Any]:
        """The transformer's configuration without diffusers' own notes."""
        config = json.loads((self.folder / "transformer" / "config.json").read_text("utf-8"))
        return {k: v for k, v in config.items() if k == "_class_name" or not k.startswith("_")}


def of(model: Model, request: Request) -> Estimate | None:
    """Return what a request costs a model; None if that cannot be known before it is fetched."""
    flow, config = model.kind != "class", _settled(model, request)
    cost = passes(model, request)
    guided = usual_guidance(model) > GUIDED
    return price(model.name, config, request.steps, cost, flow, guided) if cost else None


def _settled(model: Model, request: Request) -> ZCacheConfig:
    """Return the configuration of a request at the model's usual guidance."""
    diffusion = model.kind == "class"
    return settled(request.config(), request.steps, diffusion, usual_guidance(model))


def weight(model: Model, request: Request) -> WeightFunction | Fitted:
    """Return the weight that a request is blended with at the model's usual guidance."""
    guided_flow = model.kind != "class" and usual_guidance(model) > GUIDED
    return _settled(model, request).weight_in(guided_flow)


def passes(model: Model, request: Request, granularity: str = "") -> PassCost | None:
    """Return what the passes of a request cost, counted at most once for each shape; at a granularity, or
    at that of the request."""
    granularity = granularity or _settled(model, request).granularity
    height, width, frames = (
        getattr(request, ours) or model.call.get(theirs)
        for ours, theirs in (("height", "height"), ("width", "width"), ("frames", "num_frames"))
    )
    text = model.call.get("max_sequence_length", 0)
    if model.name in ARCHITECTURES:
        own = ARCHITECTURES[model.name].shape
        shape = replace(
            own,
            height=height or own.height,
            width=width or own.width,
            frames=frames or own.frames,
        )
        known = table().get(key(model.name, granularity, shape))
        return known or pass_cost(model.name, granularity, shape)
    if model.local is None or not (model.local / "transformer" / "config.json").is_file():
        return None
    return _counted(model.local, granularity, height, width, frames, text)


def key(name: str, granularity: str, shape: Shape) -> str:
    """Return the name of an entry of the shipped table."""
    return f"{name}/{granularity}/{shape.height}x{shape.width}x{shape.frames}"


@lru_cache(maxsize=1)
def table() -> dict[str, PassCost]:
    """Return the shipped costs by `key`."""
    text = (resources.files("zcache") / "data" / "costs.json").read_text("utf-8")
    return {name: PassCost(*numbers) for name, numbers in json.loads(text).items()}


@lru_cache(maxsize=256)
def _counted(
    folder: Path, granularity: str, height: int | None, width: int | None, frames: int, text: int
) -> PassCost | None:
    architecture = stored(folder, height, width, frames, text)
    if architecture is None:
        return None
    embedded = folder.parent == Path(str(resources.files("zcache") / "checkpoints"))
    known = table().get(key(folder.name, granularity, architecture.shape)) if embedded else None
    return known or count(architecture, granularity, architecture.shape)


def stored(
    folder: Path, height: int | None, width: int | None, frames: int | None, text: int
) -> Stored | None:
    """Return the architecture of a pipeline folder at these sizes; None for one of no known class."""
    check_layers(folder / "transformer")
    config = json.loads((folder / "transformer" / "config.json").read_text("utf-8"))
    like = ARCHITECTURES.get(LIKE.get(config["_class_name"], ""))
    if like is None:
        return None
    scale = _vae_scale(folder)
    own = ((config.get("sample_size") or FLUX_LATENTS) * scale,) * 2
    own_frames = 1
    if like.name == "hunyuan-video":
        own, own_frames = HUNYUAN_PIXELS, HUNYUAN_FRAMES
    rows, columns = (
        (side or default) * VAE_SCALE // scale
        for side, default in zip((height, width), own, strict=True)
    )
    shape = Shape(rows, columns, frames or own_frames, text_tokens=text or like.shape.text_tokens)
    known = {**vars(like), "name": folder.name, "shape": shape, "dtype": loading.precision(folder)}
    return Stored(**known, folder=folder)


def _vae_scale(folder: Path) -> int:
    """Return how many pixels a latent of this folder's VAE stands for."""
    vae = json.loads((folder / "vae" / "config.json").read_text("utf-8"))
    return vae.get("spatial_compression_ratio") or 2 ** (len(vae["block_out_channels"]) - 1)
