"""Forecasts fitted where an accelerated run will be: full step by full step, by least squares.

What an accelerated run forecasts from are its own anchors, and these were computed on latents that are a little off.
So each is computed on the latent that the factors fitted so far lead to, and then the factors of the steps around it
are found: those that bring the sum of all anchors' outputs nearest to what the scheduler was given in the uncached
run. A fit takes as many full computations as an accelerated run, and encodes its prompts once for each: calls before
the newest full step are answered with what they gave. No window is gone back over here: the steps of a closed one are
taken with its final factors at once, which lead to the same latent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor

from ...caching import intercept
from ...caching.features import combine, leaves, rebuild
from ...caching.pipeline import find_denoisers
from ...method.forecasts import Forecasts, Row
from ..clock import given
from .gram import SLICE, Rows

Draw = Callable[[], object]
RIDGE = 1e-6  # beside the anchors' own products, so that equal ones do no harm
ROUNDS = 3  # solutions, each with the weights that the one before shows
OFF = 0.1  # of the mean distance: what a prompt is taken to be off at least
DIGITS = 6


class ReachedError(Exception):
    """A run has come to the full step that was wanted: thrown through the pipeline."""


class Anchors:
    """What an accelerated run of one call has computed: its full steps' outputs, and what the scheduler was given."""

    def __init__(self) -> None:
        self.outputs: list[list[tuple[Any, tuple[Tensor, ...]]]] = []  # container and leaves
        self.given: list[np.ndarray] = []  # (pictures, numbers)

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
    pipe: Any, draws: Sequence[Draw], uncached: Sequence[Rows], full_steps: Sequence[int]
) -> tuple[Row, ...] | None:
    """The factors of every step (see forecasts.py); None where the denoiser's calls cannot be followed.

    Args:
        draws: each makes the pipeline's call once more, with the same noise.
        uncached: of each call, what its scheduler was given at every step.
        full_steps: ascending, from 0.
    """
    if len(find_denoisers(pipe)) > 1:
        return None  # a run that goes on with another begins anew there
    truth = [rows.matrix() for rows in uncached]
    num_steps = len(truth[0])
    rows: list[list[tuple[float, ...]]] = [[(), ()] for _ in range(num_steps)]
    anchors = [Anchors() for _ in draws]
    cross: list[np.ndarray] = []  # of each anchor: (pictures, steps), its products with the truth
    # Of each anchor: (pictures,), with those before and itself.
    products: list[list[np.ndarray]] = []
    sizes: np.ndarray | None = None
    for index, stop in enumerate(full_steps):
        forecasts = Forecasts(tuple(full_steps), _frozen(rows))
        for own, draw, plain in zip(anchors, draws, truth, strict=True):
            if not own.advance(pipe, draw, forecasts) or own.given[-1].size != plain.shape[1]:
                return None
        cross.append(
            _stacked(_with_truth(a.given[-1], t) for a, t in zip(anchors, truth, strict=True))
        )
        products.append(
            [_stacked(_inner(a.given[-1], a.given[i]) for a in anchors) for i in range(index + 1)]
        )
        if sizes is None:
            sizes = _stacked(_squares(a.given[-1], t) for a, t in zip(anchors, truth, strict=True))
        gram = _symmetric(products)
        begin = full_steps[index - 1] if index else stop
        end = full_steps[index + 1] if index + 1 < len(full_steps) else num_steps
        for step in (*range(begin + 1, stop), *range(stop + 1, end)):
            wanted = np.stack([each[:, step] for each in cross], axis=1)
            rows[step][step < stop] = solved(gram, wanted, sizes[:, step])
    return _frozen(rows)


def solved(gram: np.ndarray, wanted: np.ndarray, sizes: np.ndarray) -> tuple[float, ...]:
    """The factors of K anchors that bring their sum nearest to what is wanted, in R pictures.

    A picture counts by the inverse square of what it is off: dB are asked for, and the farthest would decide alone.

    Args:
        gram: (R, K, K), the products of the anchors in each picture.
        wanted: (R, K), those with what is wanted.
        sizes: (R,), the squares of what is wanted.
    """
    weights = 1 / np.maximum(sizes, np.finfo(float).tiny)
    for _ in range(ROUNDS):
        total = np.tensordot(weights, gram, 1)
        scale = np.sqrt(np.diag(total)).clip(np.finfo(float).tiny)
        ridge = RIDGE * np.eye(len(scale))
        factors = (
            np.linalg.solve(total / np.outer(scale, scale) + ridge, weights @ wanted / scale)
            / scale
        )
        squares = sizes - 2 * wanted @ factors + np.einsum("k,rkl,l->r", factors, gram, factors)
        off = np.sqrt(squares.clip(0))
        weights = 1 / np.maximum(off + OFF * off.mean(), np.finfo(float).tiny) ** 2
        weights /= weights.max()
    return tuple(float(f"{factor:.{DIGITS}g}") for factor in factors)


def _rows(model_output: Tensor) -> np.ndarray:
    """(pictures, numbers) float32."""
    return model_output.detach().flatten(1).float().cpu().numpy()


def _of_pictures(truth: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(steps, pictures, numbers), of numbers in a row."""
    return truth.reshape(len(truth), *given.shape)


def _with_truth(given: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(pictures, steps): products of one step's numbers with every step's."""
    return _summed("rd,trd->rt", given, _of_pictures(truth, given))


def _squares(given: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(pictures, steps)."""
    own = _of_pictures(truth, given)
    return _summed("trd,trd->rt", own, own)


def _inner(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(pictures,)."""
    return _summed("rd,rd->r", one, other)


def _summed(what: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """An einsum over the last axis in float64, a slice at a time."""
    parts = (
        np.einsum(what, *(x[..., i : i + SLICE].astype(np.float64) for x in (one, other)))
        for i in range(0, one.shape[-1], SLICE)
    )
    return np.sum(list(parts), axis=0)


def _symmetric(products: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(pictures, anchors, anchors), of the products of every anchor with those before and itself."""
    count = len(products)
    pairs = [[products[max(i, j)][min(i, j)] for j in range(count)] for i in range(count)]
    return np.moveaxis(np.array(pairs), -1, 0)


def _stacked(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


def _frozen(rows: Sequence[Sequence[tuple[float, ...]]]) -> tuple[Row, ...]:
    return tuple((first, second) for first, second in rows)
