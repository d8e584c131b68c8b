"""Which factors of some rows of numbers bring their sum nearest to another, by the products of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .affine_steps import AffineSteps
from .gram import SLICE
from .sight import Sight

RIDGE = 1e-8  # beside the rows' own products, so that equal ones do no harm
ROUNDS = 3  # solutions, each with the weights that the one before shows
OFF = 0.1  # of the mean distance: what a picture is taken to be off at least


class Nearest:
    """Which factors of the anchors known so far lead nearest to the uncached latents.

    Args:
        truth: of each call, what its scheduler was given at every step, (T, numbers).
        steps: the scheduler's.
        sights: what the pictures of each call show of a latent; without, latents are compared as they are.
    """

    def __init__(
        self,
        truth: Sequence[np.ndarray],
        steps: AffineSteps,
        sights: Sequence[Sight] = (),
    ) -> None:
        self._truth, self._steps, self._sights = truth, steps, sights
        self._seen: list[list[np.ndarray]] = []  # of each anchor and call (pictures, projections)
        self._sizes = np.empty(0)  # (pictures, T), the squares of the latents
        self._wanted: list[np.ndarray] = []  # of each anchor (pictures, T), its products with them
        # Of each anchor its products with those before and itself, (pictures,).
        self._products: list[list[np.ndarray]] = []
        self._gram = np.empty(0)

    def first(self, anchors: int) -> Nearest:
        """The same of the first so many anchors, to be extended by others."""
        made = Nearest(self._truth, self._steps, self._sights)
        made._sizes, made._seen = self._sizes, self._seen[:anchors]
        made._wanted, made._products = self._wanted[:anchors], self._products[:anchors]
        made._gram = self._gram[:, :anchors, :anchors] if anchors else self._gram
        return made

    def extend(self, given: Sequence[Sequence[np.ndarray]]) -> None:
        """Add the newest anchor.

        Args:
            given: of each call what the scheduler was given at every anchor so far, (pictures, numbers).
        """
        pairs = [
            (own[-1], plain.reshape(len(plain), *own[-1].shape))
            for own, plain in zip(given, self._truth, strict=True)
        ]
        # Of every call that has a sight; without there are none.
        truth = [sight.truth for sight in self._sights]
        self._seen.append([sight.of(own[-1]) for sight, own in zip(self._sights, given)])  # noqa: B905
        if not self._sizes.size:
            self._sizes = self._joined(
                [_squares(plain, self._steps) for _, plain in pairs],
                [np.square(_moved(each, self._steps)).sum(1) for each in truth],
            )
        wanted = self._joined(
            [_summed("rd,trd->rt", *pair) for pair in pairs],
            [np.einsum("rd,trd->rt", *pair) for pair in zip(self._seen[-1], truth, strict=True)],
        )
        self._wanted.append(self._steps.summed(wanted))
        self._products.append(
            [
                self._joined(
                    [_summed("rd,rd->r", own[-1], own[i]) for own in given],
                    [
                        np.einsum("rd,rd->r", *pair)
                        for pair in zip(self._seen[-1], seen, strict=True)
                    ],
                )
                for i, seen in enumerate(self._seen)
            ]
        )
        self._gram = _symmetric(self._products)

    def _joined(self, plain: Sequence[np.ndarray], seen: Sequence[np.ndarray]) -> np.ndarray:
        """Products of latents, of each call (pictures, ...), one after another; with those of the projections, where
        there are sights."""
        if not self._sights:
            return _stacked(plain)
        each = zip(self._sights, plain, seen, strict=True)
        return _stacked(sight.joined(*products) for sight, *products in each)

    def __call__(self, step: int, anchors: int) -> np.ndarray:
        """(anchors,), what the latent after a step should have of each of the first so many."""
        return solved(*self._problem(step, anchors))

    def decibels(self, step: int, latent: np.ndarray) -> np.ndarray:
        """(pictures,), how near the latent after a step is that has so much of every anchor, up to what all have."""
        squares = _off(*self._problem(step, len(latent)), latent)
        return np.asarray(-10 * np.log10(squares.clip(np.finfo(float).tiny)))

    def _problem(self, step: int, anchors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        wanted = np.stack([each[:, step] for each in self._wanted[:anchors]], axis=1)
        return self._gram[:, :anchors, :anchors], wanted, self._sizes[:, step]


def solved(gram: np.ndarray, wanted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
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
        off = np.sqrt(_off(gram, wanted, sizes, factors).clip(0))
        weights = 1 / np.maximum(off + OFF * off.mean(), np.finfo(float).tiny) ** 2
        weights /= weights.max()
    return np.asarray(factors)


def _off(
    gram: np.ndarray, wanted: np.ndarray, sizes: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """(R,) squares of what the sum is off."""
    cross = np.einsum("k,rkl,l->r", factors, gram, factors)
    return np.asarray(sizes - 2 * wanted @ factors + cross)


def _squares(outputs: np.ndarray, steps: AffineSteps) -> np.ndarray:
    """(R, T) of the latents after outputs (T, R, N), a slice at a time."""
    total = np.zeros(outputs.shape[1::-1])
    for begin in range(0, outputs.shape[-1], SLICE):
        part = outputs[..., begin : begin + SLICE].astype(np.float64)
        total += np.square(_moved(part, steps)).sum(1)
    return total


def _moved(outputs: np.ndarray, steps: AffineSteps) -> np.ndarray:
    """(R, N, T), the latents after outputs (T, R, N)."""
    return steps.summed(np.moveaxis(outputs, 0, -1))


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
