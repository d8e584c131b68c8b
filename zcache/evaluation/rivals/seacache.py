"""SeaCache (arXiv:2602.18993): TeaCache's rule on a signal that is first filtered by noise level.

diffusers has it for Wan and Cosmos 3 only, so it is written here from the paper and from how diffusers describes
its own: the first block's modulated input goes through the Wiener filter of the present noise level, of gain
a S / (a^2 S + b^2) along every axis of the token grid, for a latent a x_0 + b noise whose spectrum S falls as
f^-p; the gains are divided by their mean. Relative changes of the filtered signal are added up, unscaled; at
the threshold a step is full. Between, the residual of the block stack is reused; the first and the last step are
full.

Chosen: p is 2 for pictures and 3 for clips (diffusers: 3 for video)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...caching.bindings import Signal
from ...caching.handle import ZCache
from ...caching.times import FLOW, prediction
from ...errors import UnsupportedPipelineError
from ...method.config import ZCacheConfig
from ...method.teacache import IDENTITY
from .driven import driven

CLEAN = 1e-6  # the least share of noise, or of the picture


def settings(threshold: float) -> ZCacheConfig:
    """TeaCache's rule at a threshold; raises ConfigError unless it is above 0."""
    return ZCacheConfig(base="teacache", threshold=threshold, reflect=False)


@contextmanager
def seacache(pipe: Any, threshold: float) -> Iterator[ZCache]:
    """SeaCache, without reflection.

    Raises:
        ConfigError: a threshold that is not above 0.
        UnsupportedPipelineError: the transformer has no signal; in a run, tokens in no known grid.
    """

    def parts(denoiser: nn.Module, scheduler: Any) -> dict[str, Any]:
        return {"signal": Filtered(denoiser, scheduler)}

    with driven(pipe, settings(threshold), parts) as handle:
        yield handle


class Filtered(Signal):
    """TeaCache's signal through the filter."""

    def __init__(self, denoiser: nn.Module, scheduler: Any) -> None:
        super().__init__(denoiser)
        self._scheduler = scheduler
        self.coefficients = IDENTITY

    def __call__(self, call: Any, kwargs: dict[str, Any]) -> Tensor:
        signal = super().__call__(call, kwargs)
        if signal.ndim != 3:
            raise UnsupportedPipelineError(
                f"SeaCache filters tokens, and {self.model} has a signal of shape {tuple(signal.shape)}; "
                "leave this peer out"
            )
        shape = grid(kwargs, self._transformer.config, signal.shape[1])
        a, b = scales(self._scheduler, kwargs["timestep"])
        return filtered(signal, shape, a, b)


def scales(scheduler: Any, timestep: Tensor) -> tuple[float, float]:
    """a and b of the latent a x_0 + b noise at a call's timestep, which some pipelines give over 1000."""
    time = float(timestep.flatten()[0])
    if prediction(scheduler) == FLOW:
        sigma = time if time <= 1 else time / scheduler.config.num_train_timesteps
        sigma = min(max(sigma, CLEAN), 1 - CLEAN)
        return 1 - sigma, sigma
    kept = float(scheduler.alphas_cumprod[int(time)])
    return math.sqrt(kept), math.sqrt(1 - kept)


def grid(kwargs: dict[str, Any], config: Any, tokens: int) -> tuple[int, ...]:
    """Frames, rows and columns of the tokens, in their order; a square where nothing tells.

    Raises:
        UnsupportedPipelineError: they do not fill it.
    """
    hidden, ids = kwargs.get("hidden_states"), kwargs.get("img_ids")
    side = math.isqrt(tokens)
    shape: tuple[int, ...] = (side, side)
    if ids is not None:
        shape = tuple(int(size) + 1 for size in ids.reshape(-1, ids.shape[-1]).amax(0)[1:])
    elif hidden is not None and hidden.ndim == 5:
        patch, frames = config.patch_size, getattr(config, "patch_size_t", 1)
        shape = (hidden.shape[2] // frames, hidden.shape[3] // patch, hidden.shape[4] // patch)
    if math.prod(shape) != tokens:
        raise UnsupportedPipelineError(
            f"SeaCache found {tokens} tokens where a grid of {shape} has {math.prod(shape)}; leave this peer out"
        )
    return shape


def filtered(signal: Tensor, shape: tuple[int, ...], a: float, b: float) -> Tensor:
    """(batch, tokens, channels) through the Wiener filter of a x_0 + b noise over the grid."""
    axes = tuple(range(1, len(shape) + 1))
    cells = signal.float().reshape(signal.shape[0], *shape, signal.shape[2])
    gain = torch.ones(shape, device=signal.device)
    for axis, size in enumerate(shape):
        frequency = torch.fft.fftfreq(size, device=signal.device).abs()
        power = 1 / (frequency.pow(len(shape)) + 1e-16)
        along = a * power / (a * a * power + b * b + 1e-16)
        gain = gain * along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    spectrum = torch.fft.fftn(cells, dim=axes) * (gain / gain.mean())[None, ..., None]
    return torch.fft.ifftn(spectrum, dim=axes).real.reshape(signal.shape)
