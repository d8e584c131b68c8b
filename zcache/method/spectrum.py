"""Spectrum (arXiv:2603.01623): Chebyshev polynomials fitted over all recent anchors by ridge regression.

The times of the anchors go to tau in [-1, 1] and the features to the coefficients
C = (X^T X + lambda I)^-1 X^T H of the columns T_0 ... T_M; a forecast is x^T C, half of which is blended with
half of the line through the two newest anchors. Linear in the features, so all of it is factors."""

from __future__ import annotations

from collections.abc import Sequence

DEGREE = 4  # M, as published
RIDGE = 1e-3  # lambda, their class's default; their commands give 0.1, which shrinks a residual by some percent
WEIGHT = 0.5  # of the Chebyshev part; 1 in the paper, from 0.5 to 1 in its authors' advice
MEMORY = 10  # K: the newest anchors that are fitted; theirs hold all
SPAN = 50.0  # steps that make [-1, 1], whatever the run's number, as in their code


def chebyshev(step: float, degree: int = DEGREE) -> list[float]:
    """T_0 ... T_M at tau = 2 step / 50 - 1."""
    tau = 2 * step / SPAN - 1
    columns = [1.0, tau]
    while len(columns) <= degree:
        columns.append(2 * tau * columns[-1] - columns[-2])
    return columns[: degree + 1]


def fitted(
    anchors: Sequence[int], step: int, degree: int = DEGREE, ridge: float = RIDGE
) -> list[float]:
    """x^T (X^T X + lambda I)^-1 X^T: the factor of every anchor's feature in the fitted value at `step`."""
    rows = [chebyshev(anchor, degree) for anchor in anchors]
    size = range(degree + 1)
    normal = [
        [sum(row[i] * row[j] for row in rows) + (ridge if i == j else 0.0) for j in size]
        for i in size
    ]
    solved = _solve(normal, chebyshev(step, degree))
    return [sum(a * b for a, b in zip(row, solved, strict=True)) for row in rows]


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """x of A x = b for a positive definite A, by elimination without pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(rows):
        for row in rows[i + 1 :]:
            share = row[i] / pivot[i]
            for j in range(i, len(row)):
                row[j] -= share * pivot[j]
    found = [0.0] * len(rows)
    for i in reversed(range(len(rows))):
        known = sum(rows[i][j] * found[j] for j in range(i + 1, len(rows)))
        found[i] = (rows[i][-1] - known) / rows[i][i]
    return found
