"""The floor of a cached pass: its arithmetic alone, called bare, in a loop of its own."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn import functional

ANCHORS = {
    "forecast": 2,
    "reflect": 3,
}  # that enter a blend at order 1, and a class model's at order 2

Captured = dict[str, Any]


def now() -> float:
    """Seconds, when the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def blend(anchors: list[torch.Tensor]) -> torch.Tensor:
    total = anchors[0] * 0.3
    for anchor in anchors[1:]:
        total.add_(anchor, alpha=0.3)
    return total


def flux(t: Any, call: Captured, kind: str, anchors: list[torch.Tensor], known: dict) -> Any:
    """Embedder, blend and head of FLUX; a reflect pass has the timestep's embedding already."""
    hidden = t.x_embedder(call["hidden_states"])
    if kind == "forecast":
        scales = (1000 * call["timestep"], 1000 * call["guidance"], call["pooled_projections"])
        known["temb"] = t.time_text_embed(*scales)
    return t.proj_out(t.norm_out(hidden + blend(anchors), known["temb"]))


def hunyuan(t: Any, call: Captured, kind: str, anchors: list[torch.Tensor], known: dict) -> Any:
    """Embedder, blend and head of HunyuanVideo, and its patches put together."""
    latent = call["hidden_states"]
    hidden = t.x_embedder(latent)
    if kind == "forecast":
        scales = (call["timestep"], call["pooled_projections"], call["guidance"])
        known["temb"] = t.time_text_embed(*scales)[0]
    patches = t.proj_out(t.norm_out(hidden + blend(anchors), known["temb"]))
    batch, _, frames, height, width = latent.shape
    p, p_t = t.config.patch_size, t.config.patch_size_t
    sides = (frames // p_t, height // p, width // p)
    patches = patches.reshape(batch, *sides, -1, p_t, p, p).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return patches.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def dit(t: Any, call: Captured, kind: str, anchors: list[torch.Tensor], known: dict) -> Any:
    """Embedder, blend and head of DiT, which embeds the timestep in its head, and its guidance."""
    latent = call["hidden_states"]
    half = latent[: len(latent) // 2]
    hidden = t.pos_embed(torch.cat([half, half]))
    embed = t.transformer_blocks[0].norm1.emb
    temb = embed(call["timestep"], call["class_labels"], hidden_dtype=hidden.dtype)
    shift, scale = t.proj_out_1(functional.silu(temb)).chunk(2, dim=1)
    hidden = t.norm_out(hidden + blend(anchors)) * (1 + scale[:, None]) + shift[:, None]
    patch, channels = t.patch_size, t.out_channels
    side = int(hidden.shape[1] ** 0.5)
    patches = t.proj_out_2(hidden).reshape(-1, side, side, patch, patch, channels)
    noise = torch.einsum("nhwpqc->nchpwq", patches)
    return guided(noise.reshape(-1, channels, side * patch, side * patch), latent.shape[1])


def guided(noise: torch.Tensor, channels: int) -> torch.Tensor:
    eps, rest = noise[:, :channels], noise[:, channels:]
    cond, uncond = torch.split(eps, len(eps) // 2)
    half = uncond + 4.0 * (cond - uncond)
    return torch.split(torch.cat([torch.cat([half, half]), rest], dim=1), channels, dim=1)[0]


BARE = {"Flux": flux, "HunyuanVideo": hunyuan, "DiT": dit}  # by how the class is called


class Floor:
    """The bare loop over a schedule's cached steps, of one pipeline call's own tensors."""

    def __init__(self, pipe: Any, call: dict[str, Any], granularity: str) -> None:
        self._scheduler, self._transformer = pipe.scheduler, pipe.transformer
        name = type(pipe.transformer).__name__
        self._is_dit = name.startswith("DiT")
        self._bare = next(bare for start, bare in BARE.items() if name.startswith(start))
        self._granularity = granularity
        self._call: Captured = {}
        hook = pipe.transformer.register_forward_pre_hook(self._capture, with_kwargs=True)
        try:
            pipe(**{**call, "num_inference_steps": 2})
        finally:
            hook.remove()
        pipe(**call)  # the scheduler's tables are those of the whole schedule again
        with torch.no_grad():
            self._output = pipe.transformer(**self._call, return_dict=False)[0]
            embedder = pipe.transformer.pos_embed if self._is_dit else pipe.transformer.x_embedder
            hidden = embedder(self._call["hidden_states"])
        like = hidden if granularity == "stack" else self._output
        orders = 1 if self._is_dit else 0
        self._anchors = {
            kind: [torch.randn_like(like) for _ in range(count + orders)]
            for kind, count in ANCHORS.items()
        }

    def _capture(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = ("hidden_states",)
        self._call = {**dict(zip(names, args, strict=False)), **kwargs}
        self._call.pop("return_dict", None)

    @torch.no_grad()
    def seconds(self, kind: str, passes: int = 40) -> float:
        """Mean seconds of a pass."""
        scheduler, call, latent = self._scheduler, dict(self._call), self._call["hidden_states"]
        timesteps = list(scheduler.timesteps[:passes])
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
            scheduler._step_index = 0
        known: dict[str, Any] = {}
        self._model_output("forecast", call, known)
        began = now()
        for timestep in timesteps:
            call["hidden_states"] = latent
            output = self._model_output(kind, call, known)
            latent = scheduler.step(output, timestep, latent, return_dict=False)[0]
        return (now() - began) / len(timesteps)

    def _model_output(self, kind: str, call: Captured, known: dict[str, Any]) -> torch.Tensor:
        anchors = self._anchors[kind]
        if self._granularity == "stack":
            return self._bare(self._transformer, call, kind, anchors, known)
        output = blend(anchors)
        return guided(output, call["hidden_states"].shape[1]) if self._is_dit else output
