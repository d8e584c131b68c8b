"""What a picture shows of an error in its last latent, by random projections of its decoder's Jacobian.

A decoder shows some errors and hides others, and what is looked at is the picture: of two latents equally far from
the uncached one, one may look 6 dB nearer. With J the decoder's Jacobian and r a sign of chance for every number of
the picture, (r . J e)^2 has the mean |J e|^2 (Hutchinson), and r J is one gradient of the decoder: a few of them for
every prompt tell the factors that are fitted to all prompts. Few are noisy, so that distances in the latents are
added, as much as errors in no direction would weigh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...caching import intercept
from ...caching.features import leaves, rebuild
from ...caching.pipeline import find_denoisers
from ..clock import wrapped
from .uncached import Uncached

Draw = Callable[[], object]
Told = Callable[[str], None]
COLOURS = 3  # channels of a picture, whose numbers end at -1 and 1


class Sight:
    """Projections of the pictures of one call.

    Args:
        gradients: (projections, pictures, numbers) of the last latent; pictures that nothing is shown of are left
            out of all that is computed here.
        truth: what the scheduler of its uncached run was given, (T, pictures, numbers) or the last two flat.
    """

    def __init__(self, gradients: np.ndarray, truth: np.ndarray) -> None:
        self._gradients = gradients / len(gradients) ** 0.5
        squares = np.square(self._gradients, dtype=np.float64).sum(0)
        self._shown = squares.any(1)
        self._shares = squares.mean(1)  # of the distances in the latents
        self.truth = self.of(truth.reshape(-1, *squares.shape))

    def of(self, rows: np.ndarray) -> np.ndarray:
        """(..., pictures, numbers) as (..., pictures, projections)."""
        return np.einsum("prn,...rn->...rp", self._gradients, rows, dtype=np.float64)

    def joined(self, plain: np.ndarray, projected: np.ndarray) -> np.ndarray:
        """Products of latents and of their projections, (pictures, ...) both, as those of what is seen."""
        shares = self._shares.reshape(-1, *(1 for _ in plain.shape[1:]))
        return np.asarray(shares * plain + projected)[self._shown]


def look(
    pipe: Any, draws: Sequence[Draw], uncached: Sequence[Uncached], count: int, told: Told
) -> list[Sight]:
    """The sights of all calls' pictures; none, which is told, where they cannot be had.

    Takes of each call one full computation, and `count` gradients of the decoder.

    Args:
        draws: each makes the pipeline's call once more.
        uncached: the run of each call.
        count: projections, 1 or more.
    """
    why: object = "nothing decodes them, or the sampler's steps have no closed form"
    found: list[Sight] = []
    try:
        for draw, run in zip(draws, uncached, strict=True):
            sight = _look(pipe, draw, run, count, seed=len(found))
            if sight is None:
                break
            found.append(sight)
    except Exception as error:  # a decoder without gradient, or no memory for one
        why = f"{type(error).__name__}: {error}"
    if len(found) == len(draws):
        return found
    told(f"fits compare latents, not what pictures show of them: {why}")
    return []


def _look(pipe: Any, draw: Draw, uncached: Uncached, count: int, seed: int) -> Sight | None:
    vae, last = getattr(pipe, "vae", None), uncached.last
    if last is None or not hasattr(vae, "decode"):
        return None
    truth = uncached.given()
    run = _Run(last, len(truth), count, seed)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))  # as it was, after
        for denoiser in find_denoisers(pipe):
            intercept.arm(denoiser, "__call__", run.call)
            stack.callback(intercept.disarm, denoiser, "__call__", run.call)
        stack.enter_context(wrapped(pipe.scheduler, "step", run.stepping))
        stack.enter_context(wrapped(vae, "decode", run.decoding))
        draw()
    if not np.isfinite(run.gradients).all():
        raise ValueError("the decoder's gradients are not finite")
    return Sight(run.gradients, truth) if run.gradients.any() else None


class _Run:
    """A run that ends on a latent that is known, whose denoiser computes at the first step alone."""

    def __init__(self, last: Tensor, num_steps: int, count: int, seed: int) -> None:
        self._last = last.detach().clone().requires_grad_()
        self._left, self._calls = num_steps, 0
        self._found: list[Any] = []
        self._begun = False
        self._signs = torch.Generator().manual_seed(seed)
        self.gradients = np.zeros((count, len(last), last[0].numel()), np.float32)

    def call(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        index, self._calls = self._calls, self._calls + 1
        if not self._begun:
            self._found.append(original(*args, **kwargs))
        found = self._found[index]
        return rebuild(found, tuple(leaf.clone() for leaf in leaves(found)))

    def stepping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            self._begun, self._calls, self._left = True, 0, self._left - 1
            if self._left:
                return result
            torch.set_grad_enabled(True)
            if isinstance(result, tuple):
                return (self._last * 1, *result[1:])
            result.prev_sample = self._last * 1
            return result

        return step

    def decoding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def decode(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            for picture in leaves(output):
                self._project(picture)
            return rebuild(output, tuple(leaf.detach() for leaf in leaves(output)))

        return decode

    def _project(self, picture: Tensor) -> None:
        """Add what this picture, or part of one, shows."""
        if not picture.requires_grad:
            return
        coloured = picture.ndim > COLOURS and picture.shape[1] == COLOURS
        shown = picture.clamp(-1, 1) if coloured else picture
        for projection in self.gradients:
            signs = torch.randint(0, 2, shown.shape, generator=self._signs).to(shown) * 2 - 1
            (found,) = torch.autograd.grad(shown, self._last, signs, retain_graph=True)
            projection += found.flatten(1).float().cpu().numpy()
