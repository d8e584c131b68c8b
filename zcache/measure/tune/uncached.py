"""What the scheduler of an uncached run was given, and whether the run's latents follow from that alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...caching import affine
from ...caching.affine import Affine
from ..clock import given
from .gram import Rows

ROUNDING = 4  # units in the last place


class Uncached:
    """One run. The rows lie in a temporary file, which is gone with this."""

    def __init__(self) -> None:
        self._rows = Rows(tempfile.NamedTemporaryFile(prefix="zcache-rows-"))  # noqa: SIM115
        self._steps = 0
        self._form: Affine | None = None
        self._expected: Tensor | None = None  # the next step's latent

    @contextmanager
    def watching(self, scheduler: Any) -> Iterator[None]:
        """While this lasts, `scheduler` takes the steps of the run."""

        def note(
            model_output: Tensor, timestep: Any, sample: Tensor, *_: object, **__: object
        ) -> None:
            self._rows.begin()
            self._rows.extend(model_output)
            if not self._steps:
                self._form = _form(scheduler, timestep)
            if self._form is not None:
                self._check(self._form, model_output, sample)
            self._steps += 1

        with given(scheduler, "step", note):
            yield

    def _check(self, form: Affine, model_output: Tensor, sample: Tensor) -> None:
        """Forget the closed form where the last step led elsewhere: steps have noise of their own, or
        inpainting writes between them."""
        off = self._expected is not None and not _is_rounded(self._expected, sample)
        if off or self._steps >= len(form.rows):
            self._form = self._expected = None
        else:
            self._expected = form.advance(self._steps, model_output, sample)

    def given(self) -> np.ndarray:
        """Every step's numbers (T, length) float32, on disk.

        Raises:
            UnsupportedPipelineError: as `Rows.matrix`.
        """
        return self._rows.matrix()

    @property
    def last(self) -> Tensor | None:
        """The latent after the last step; None where there is no closed form."""
        return None if self.closed_form() is None else self._expected

    def closed_form(self) -> Sequence[tuple[float, float]] | None:
        """a and b of every step, x' = a x + b v; None where latents do not follow so, or one stays in place."""
        if self._form is None:
            return None
        rows = [(a, float(b)) for a, b in self._form.rows]
        return rows if len(rows) == self._steps and all(b for _, b in rows) else None


def _is_rounded(expected: Tensor, latent: Tensor) -> bool:
    """Whether no more than the latent's precision lies between the two; least squares do not see that."""
    off = (expected.float() - latent.float()).norm()
    return bool(off <= ROUNDING * torch.finfo(latent.dtype).eps * latent.float().norm())


def _form(scheduler: Any, timestep: Any) -> Affine | None:
    """Of the steps from `timestep` on: image-to-image begins in the middle."""
    times = [float(each) for each in scheduler.timesteps]
    first = float(timestep)
    return affine.find(scheduler, times.index(first)) if first in times else None
