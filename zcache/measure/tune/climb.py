"""The last decibels: full steps moved one at a time, as long as real runs get better."""

from __future__ import annotations

import random
from collections.abc import Callable

Steps = tuple[int, ...]
MOVES = (-1, 1, -2, 2)


def climb(start: Steps, num_steps: int, is_better: Callable[[Steps, Steps], bool]) -> Steps:
    """Move one full step at a time, in an order of chance, and again where it helped; until nothing helps.

    Args:
        start: full steps; the first stays where it is.
        num_steps: of the run.
        is_better: whether full steps, never asked of twice, are better than the best so far; False when
            there are no more runs.
    """
    order, best, tried = random.Random(0), start, {start}
    moves = [(index, by) for index in range(1, len(start)) for by in MOVES]
    moved = True
    while moved:
        moved = False
        order.shuffle(moves)
        for index, by in moves:
            while (steps := _moved(best, index, by, num_steps)) and steps not in tried:
                tried.add(steps)
                if not is_better(steps, best):
                    break
                best, moved = steps, True
    return best


def _moved(steps: Steps, index: int, by: int, num_steps: int) -> Steps | None:
    """One full step elsewhere, None where it would meet another or leave the run."""
    at = steps[index] + by
    above = steps[index + 1] if index + 1 < len(steps) else num_steps
    if not steps[index - 1] < at < above:
        return None
    return (*steps[:index], at, *steps[index + 1 :])
