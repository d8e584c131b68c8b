"""What a run's latents are made of, where every step is x' = a x + b v (see caching/affine.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class AffineSteps:
    """The steps of a run from its noise, which every run of a prompt has and which is left out of its latents here.

    Args:
        closed_form: a and b of every step; 0 and 1 make a latent of the newest output alone.
    """

    def __init__(self, closed_form: Sequence[tuple[float, float]]) -> None:
        self._closed_form = closed_form
        count = len(closed_form)
        self._shares = np.zeros((count, count))  # of the latent after each step, every output's
        reached = np.zeros(count)
        for step, output in enumerate(np.eye(count)):
            reached = self._shares[step] = self.after(step, reached, output)

    def summed(self, of_outputs: np.ndarray) -> np.ndarray:
        """(..., T) of outputs, as (..., T) of the latents after them."""
        return of_outputs @ self._shares.T

    def after(self, step: int, latent: np.ndarray, output: np.ndarray) -> np.ndarray:
        """What the next latent has of every anchor."""
        a, b = self._closed_form[step]
        return np.asarray(a * latent + b * output)

    def between(self, step: int, latent: np.ndarray, following: np.ndarray) -> np.ndarray:
        """What the output has of every anchor that leads from one latent to the next."""
        a, b = self._closed_form[step]
        return np.asarray((following - a * latent) / b)
