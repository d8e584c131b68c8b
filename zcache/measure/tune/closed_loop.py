"""Fitted forecasts, found where an accelerated run will be: full step by full step, by least squares.

What an accelerated run forecasts from are its own anchors, and these were computed on latents that are a little off.
So each is computed on the latent that the factors fitted so far lead to, and then the factors of the steps around it
are found: those that bring the latent after each step nearest to that of the uncached run, so that what the steps
before are off is made good; where the scheduler's step has no closed form, those that bring the sum of all anchors'
outputs nearest to what it was given there. A fit takes as many full computations as an accelerated run, and encodes
its prompts once for each: calls before the newest full step are answered with what they gave. No window is gone back
over here: the steps of a closed one are taken with its final factors at once, which lead to the same latent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from torch import Tensor

from ...caching import intercept
from ...caching.features import combine, leaves, rebuild
from ...caching.pipeline import find_denoisers
from ...method.forecasts import Forecasts, Row, checked
from ..clock import given
from .affine_steps import AffineSteps
from .least_squares import Nearest
from .sight import Draw, Sight
from .uncached import Uncached

DIGITS = 6


class ReachedError(Exception):
    """A run has come to the full step that was wanted: thrown through the pipeline."""


class Anchors:
    """What an accelerated run of one call has computed: its full steps' outputs, and what the scheduler was given."""

    def __init__(self) -> None:
        self.outputs: list[list[tuple[Any, tuple[Tensor, ...]]]] = []  # container and leaves
        self.given: list[np.ndarray] = []  # (pictures, numbers)

    def first(self, count: int) -> Anchors:
        """The first so many, to go on with others."""
        made = Anchors()
        made.outputs, made.given = self.outputs[:count], self.given[:count]
        return made

    def advance(self, pipe: Any, draw: Draw, forecasts: Forecasts) -> bool:
        """Compute the next full step, on the latent that `forecasts` lead to; False if that cannot be followed."""
        follower = _Follower(self, forecasts)
        with ExitStack() as stack:
            for denoiser in find_denoisers(pipe):
                intercept.arm(denoiser, "__call__", follower.call)
                stack.callback(intercept.disarm, denoiser, "__call__", follower.call)
            stack.enter_context(given(pipe.scheduler, "step", follower.step))
            try:
                draw()
            except ReachedError:
                return follower.reached
        return False


@dataclass(frozen=True)
class Fitted:
    """Forecasts fitted to full steps.

    Args:
        decibels: of every row of the scheduler's, how near its last latent is to the uncached one, up to what all
            fits of it have; None where the steps have no closed form.
        anchors, nearest: what they were found from; None where that is not stored.
    """

    full_steps: tuple[int, ...]
    rows: tuple[Row, ...]
    decibels: np.ndarray | None
    anchors: Sequence[Anchors] = ()
    nearest: Nearest | None = None

    def common(self, full_steps: Sequence[int]) -> int:
        """How many anchors a fit to other full steps has in common with this one."""
        pairs = zip(self.full_steps, full_steps, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without what they were found from."""
        decibels = None if self.decibels is None else self.decibels.tolist()
        return {"full_steps": self.full_steps, "rows": self.rows, "decibels": decibels}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fitted:
        full_steps, decibels = tuple(stored["full_steps"]), stored["decibels"]
        rows = checked(stored["rows"], full_steps)
        return cls(full_steps, rows, None if decibels is None else np.array(decibels))


class _Follower:
    """A run that computes one full step and takes all before it from memory."""

    def __init__(self, anchors: Anchors, forecasts: Forecasts) -> None:
        self._anchors, self._forecasts = anchors, forecasts
        self._wanted = forecasts.full_steps[len(anchors.outputs)]
        self._now, self._calls = 0, 0
        self._found: list[tuple[Any, tuple[Tensor, ...]]] = []
        self.reached = False

    def call(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        index, self._calls = self._calls, self._calls + 1
        if self._now == self._wanted:
            output = original(*args, **kwargs)
            found = list(leaves(output))
            like = rebuild(output, tuple(leaf.new_empty(0) for leaf in found))
            self._found.append((like, tuple(leaf.detach().clone() for leaf in found)))
            return output
        factors = self._factors()
        outputs = self._anchors.outputs[: len(factors)]
        if any(index >= len(calls) for calls in outputs):
            raise ReachedError  # another number of calls at some steps
        like, _ = outputs[-1][index]
        made = combine([calls[index][1] for calls in outputs], factors)
        return rebuild(like, tuple(leaf.clone() for leaf in made))

    def _factors(self) -> Sequence[float]:
        full_steps, step = self._forecasts.full_steps, self._now
        if step in full_steps:
            return [*(0.0 for _ in range(full_steps.index(step))), 1.0]
        known = full_steps[: len(self._anchors.outputs)]
        behind = sum(full < step for full in known)
        return self._forecasts(known[: behind + 1], step, 0)

    def step(self, model_output: Tensor, *_: object, **__: object) -> None:
        if self._now == self._wanted:
            self._anchors.outputs.append(self._found)
            self._anchors.given.append(_rows(model_output))
            self.reached = True
            raise ReachedError
        self._now, self._calls = self._now + 1, 0


def fit(
    pipe: Any,
    draws: Sequence[Draw],
    uncached: Sequence[Uncached],
    full_steps: Sequence[int],
    near: Fitted | None = None,
    sights: Sequence[Sight] = (),
) -> Fitted | None:
    """The factors of every step (see forecasts.py); None where the denoiser's calls cannot be followed.

    Args:
        draws: each makes the pipeline's call once more, with the same noise.
        uncached: the run of each call.
        full_steps: ascending, from 0.
        near: fitted to others with the same draws. What both begin with is not computed again.
        sights: of each call, what its pictures show; without, latents are compared as they are.
    """
    if len(find_denoisers(pipe)) > 1:
        return None  # a run that goes on with another begins anew there
    truth = [run.given() for run in uncached]
    num_steps = len(truth[0])
    closed = [run.closed_form() for run in uncached]
    followed = closed[0] if closed[0] and all(closed) else None
    steps = AffineSteps(followed or [(0.0, 1.0)] * num_steps)
    rows: list[list[tuple[float, ...]]] = [[(), ()] for _ in range(num_steps)]
    kept, anchors, nearest = 0, [Anchors() for _ in draws], Nearest(truth, steps, sights)
    if near and near.nearest:
        kept = near.common(full_steps)
        anchors, nearest = [own.first(kept) for own in near.anchors], near.nearest.first(kept)
    behind = np.zeros(0)  # what the latent at the newest full step has of each anchor
    for index, stop in enumerate(full_steps):
        if index >= kept:
            forecasts = Forecasts(tuple(full_steps), _frozen(rows))
            for own, draw, plain in zip(anchors, draws, truth, strict=True):
                followed_on = own.advance(pipe, draw, forecasts)
                if not followed_on or own.given[-1].size != plain.shape[1]:
                    return None
            nearest.extend([own.given for own in anchors])
        reached = np.zeros(index + 1)
        if index:
            begin = full_steps[index - 1]
            reached[:-1] = steps.after(begin, behind, np.eye(index)[-1])
            reached = _fill(rows, 1, range(begin + 1, stop), steps, nearest, reached)
        behind = reached
        end = full_steps[index + 1] if index + 1 < len(full_steps) else num_steps
        reached = steps.after(stop, behind, np.eye(index + 1)[-1])
        reached = _fill(rows, 0, range(stop + 1, end), steps, nearest, reached)
    decibels = nearest.decibels(num_steps - 1, reached) if followed else None
    return Fitted(tuple(full_steps), _frozen(rows), decibels, anchors, nearest)


def _fill(
    rows: list[list[tuple[float, ...]]],
    kind: int,
    cached: Iterable[int],
    steps: AffineSteps,
    nearest: Nearest,
    reached: np.ndarray,
) -> np.ndarray:
    """Write the factors of a window's cached steps; what the latent after it has of every anchor."""
    for step in cached:
        output = steps.between(step, reached, nearest(step, len(reached)))
        rows[step][kind] = tuple(float(f"{factor:.{DIGITS}g}") for factor in output)
        reached = steps.after(step, reached, np.array(rows[step][kind]))
    return reached


def _rows(model_output: Tensor) -> np.ndarray:
    """(pictures, numbers) float32."""
    return model_output.detach().flatten(1).float().cpu().numpy()


def _frozen(rows: Sequence[Sequence[tuple[float, ...]]]) -> tuple[Row, ...]:
    return tuple((first, second) for first, second in rows)
