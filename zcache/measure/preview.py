"""Small pictures of a run in progress, without its decoder.

The channels of a VAE's latent are nearly a linear function of the colours they stand for, so a
preview is a matrix product. The matrix is fitted by least squares to the runs that have finished:
their last latents and the pictures they were decoded to. What is shown is the denoised sample that a
step expects, so that the picture appears out of blur and not out of noise.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from ..caching.scheduler import previous_sample

if TYPE_CHECKING:
    from .clock import LoopClock

OnLook = Callable[[np.ndarray], None]
SECONDS_APART = 0.2
CHART, BLOCK = 8, 16  # colours in a row of the chart, pixels of a colour
RIDGE = 1e-3  # of the mean square of a channel: colours nobody has seen stay grey

_known: weakref.WeakKeyDictionary[Any, Colours] = weakref.WeakKeyDictionary()


class Colours:
    """The linear map from a latent's channels to red, green and blue, fitted to finished runs."""

    def __init__(self) -> None:
        self._gram: Any = 0.0
        self._moment: Any = 0.0

    @property
    def known(self) -> bool:
        """Whether anything was learnt yet."""
        return isinstance(self._gram, np.ndarray)

    def learn(self, grid: np.ndarray, frame: np.ndarray) -> None:
        """Take in a latent (h, w, C) and its picture (H, W, 3) uint8, H and W multiples of h and w."""
        height, width, _ = grid.shape
        rows, columns = frame.shape[0] // height, frame.shape[1] // width
        cut = frame[: height * rows, : width * columns].astype(np.float64) / 255 - 0.5
        small = cut.reshape(height, rows, width, columns, 3).mean(axis=(1, 3)).reshape(-1, 3)
        channels = _with_one(grid)
        self._gram = self._gram + channels.T @ channels
        self._moment = self._moment + channels.T @ small

    def picture(self, grid: np.ndarray) -> np.ndarray:
        """Return the colours of a latent (h, w, C) as (h, w, 3) uint8."""
        ridge = RIDGE * np.trace(self._gram) / len(self._gram) * np.eye(len(self._gram))
        colours = _with_one(grid) @ np.linalg.solve(self._gram + ridge, self._moment)
        levels = np.nan_to_num(colours + 0.5).clip(0, 1) * 255
        return levels.round().astype(np.uint8).reshape(*grid.shape[:2], 3)


def of(pipe: Any) -> Colours:
    """Return what is known of the colours of a pipeline's latents."""
    return _known.setdefault(pipe, Colours())


def learn(pipe: Any, call: Mapping[str, Any], latent: Any, frames: np.ndarray) -> None:
    """Learn from the last latent of a finished run and its frames (F, H, W, 3) uint8."""
    grid = _grid(pipe, call, latent)
    if grid is not None and np.isfinite(grid).all():
        of(pipe).learn(grid, frames[len(frames) // 2])


def prime(pipe: Any) -> None:
    """Learn from a chart of random colours that the pipeline's VAE encodes, once for a pipeline, so
    that the first run is seen in its colours. Without a VAE that scales by one number, nothing is done.
    """
    import torch

    vae: Any = getattr(pipe, "vae", None)
    scale = getattr(getattr(vae, "config", None), "scaling_factor", None)
    if of(pipe).known or scale is None or not hasattr(vae, "encode"):
        return
    blocks = np.random.default_rng(0).integers(0, 256, (CHART, CHART, 3), np.uint8)
    chart = blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    given = torch.from_numpy(chart).permute(2, 0, 1)[None].to(pipe._execution_device, vae.dtype)
    given = given / 127.5 - 1
    of_clips = "Video" in type(vae).__name__
    with torch.no_grad():
        coded = vae.encode(given[:, :, None] if of_clips else given)
    if hasattr(coded, "latent_dist"):
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        learn(pipe, {}, (coded.latent_dist.mode() - shift) * scale, chart[None])


@contextmanager
def looked(pipe: Any, call: Mapping[str, Any], on_look: OnLook, clock: LoopClock) -> Iterator[None]:
    """Show `on_look` small pictures, (h, w, 3) uint8, of the steps of ONE pipeline call, a few a
    second; the time it takes is kept from `clock`. Nothing in the run changes."""
    scheduler = pipe.scheduler
    original, shadowed = scheduler.step, "step" in vars(scheduler)
    last, step = 0.0, 0

    @wraps(original)
    def watched(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal last, step
        result = original(model_output, timestep, sample, *args, **kwargs)
        if of(pipe).known and time.monotonic() - last >= SECONDS_APART:
            with clock.paused():
                grid = _grid(pipe, call, _denoised(scheduler, step, model_output, sample, result))
                if grid is not None:
                    on_look(of(pipe).picture(grid))
            last = time.monotonic()
        step += 1
        return result

    scheduler.step = watched
    try:
        yield
    finally:
        if shadowed:
            scheduler.step = original
        else:
            del scheduler.step


def _denoised(scheduler: Any, step: int, output: Any, sample: Any, result: Any) -> Any:
    """The clean latent that a step expects; where the scheduler does not tell, what it made."""
    expected = getattr(result, "pred_original_sample", None)
    if expected is not None:
        return expected
    sigmas: Any = getattr(scheduler, "sigmas", ())
    if type(scheduler).__name__.startswith("FlowMatch") and step < len(sigmas):
        return sample.float() - float(sigmas[step]) * output.float()
    return previous_sample(result)


def _grid(pipe: Any, call: Mapping[str, Any], latent: Any) -> np.ndarray | None:
    """The first sample of a latent, of a clip its middle, as (h, w, C); None in an unknown shape."""
    latent = latent[:1].detach()
    if latent.ndim == 3 and hasattr(pipe, "_unpack_latents"):
        sides = call.get("height"), call.get("width")
        if None in sides:
            return None
        latent = pipe._unpack_latents(latent, *sides, pipe.vae_scale_factor)
    if latent.ndim == 5:
        latent = latent[:, :, latent.shape[2] // 2]
    if latent.ndim != 4:
        return None
    return latent[0].float().cpu().numpy().astype(np.float64).transpose(1, 2, 0)


def _with_one(grid: np.ndarray) -> np.ndarray:
    flat = grid.reshape(-1, grid.shape[-1])
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
