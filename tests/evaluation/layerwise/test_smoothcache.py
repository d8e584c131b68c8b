"""SmoothCache: the published rule on plain numbers, and its calibration."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcache.evaluation import methods
from zcache.evaluation.rivals.layerwise.calibration import HELD_OUT, calibrate, relative_l1
from zcache.evaluation.rivals.layerwise.on_pipeline import smoothcache
from zcache.evaluation.rivals.layerwise.plans import FARTHEST, RUNS, plan

from ...pipelines import STEPS, Case, dit, seeded
from .tiny import (
    BRANCHES,
    DIT,
    FAMILIES,
    WINDOWS,
    drawn,
    known,
)


@pytest.mark.parametrize(
    ("alpha", "computed"),
    [
        (0.22, (0, 3, 6, 9, 11)),
        (0.1, tuple(range(12))),  # 0.1 is not below 0.1
        (0.11, (0, 2, 4, 6, 8, 10, 11)),
        (9.0, (0, 4, 8, 11)),
    ],
)
def test_a_layer_that_moves_a_tenth_a_step(alpha: float, computed: tuple[int, ...]) -> None:
    """Errors of 0.1, 0.2, 0.3, ...: below 0.22 after two steps, and no more than three are reused."""
    errors = {(i, j): (j - i) / 10 for j in range(12) for i in range(j)}
    found = plan(errors, alpha, 12)
    assert tuple(step for step, kept in enumerate(found) if kept) == computed


def test_a_window_ends_before_the_first_step_that_is_too_far() -> None:
    """Step 2 is too far from 0, though 3 is not; 3 is near to 2, and 5 has no error: it is computed."""
    errors = {(0, 1): 0.1, (0, 2): 0.5, (0, 3): 0.1, (2, 3): 0.1, (2, 4): 0.1}
    assert plan(errors, 0.22, 7) == (True, False, True, False, False, True, True)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 20), st.floats(0, 1))
def test_every_reuse_is_below_alpha_and_as_long_as_it_may_be(
    data: st.DataObject, num_steps: int, alpha: float
) -> None:
    errors = {
        (i, j): data.draw(st.floats(0, 1))
        for j in range(num_steps)
        for i in range(max(0, j - FARTHEST), j)
    }
    computed = plan(errors, alpha, num_steps)
    assert computed[0] and computed[-1] and len(computed) == num_steps
    anchor = 0
    for step in range(1, num_steps - 1):
        near = step - anchor <= FARTHEST and errors[anchor, step] < alpha
        assert computed[step] is not near
        anchor = step if computed[step] else anchor


def test_the_relative_error_is_a_sum_over_a_sum() -> None:
    """|1 - 2| + |-1 + 1| + |2 - 0| = 3 of 1 + 1 + 2; with a second tensor 3 + 1 of 4 + 4."""
    later, earlier = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([2.0, -1.0, 0.0])
    assert relative_l1((earlier,), (later,)) == 0.75
    more = torch.full((2, 2), 1.0)
    pair = ((earlier, more - torch.eye(2) / 2),), ((later, more),)
    assert relative_l1(*pair) == 0.5
    nothing = torch.zeros(3)
    assert relative_l1((nothing,), (nothing,)) == 0.0
    assert relative_l1((later,), (nothing,)) == math.inf


@pytest.mark.parametrize("case", [*FAMILIES, BRANCHES[0]], ids=str)
def test_the_calibrated_errors_are_those_of_the_plain_runs(case: Case) -> None:
    """Against hooks that note every layer's output; the mean is over layers of a kind, branches, runs."""
    pipe = case.build()
    branches = 2 if case in BRANCHES else 1
    noted: dict[str, list[Any]] = {}
    hooks = []
    for at, layer in enumerate(known(pipe)):
        key = f"{layer.kind} {at}"
        hooks.append(
            layer.module.register_forward_hook(
                lambda *a, key=key: noted.setdefault(key, []).append(a[2])
            )
        )
    plain = [drawn(case)(pipe, HELD_OUT + run) for run in range(2)]
    for hook in hooks:
        hook.remove()

    watched = []
    found = calibrate(pipe, lambda p, i: watched.append(drawn(case)(p, i)), range(2))
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert set(found) == {layer.kind for layer in known(pipe)}
    for kind, errors in found.items():
        assert set(errors) == {(i, j) for j in range(STEPS) for i in range(max(0, j - 3), j)}
        for i, j in ((0, 1), (3, 5), (8, 11)):
            by_hand = []
            for key, outputs in noted.items():
                if key.split()[0] != kind:
                    continue
                for run in range(2):
                    for branch in range(branches):
                        at = [run * STEPS * branches + s * branches + branch for s in (i, j)]
                        before, now = (torch.cat([*flat(outputs[k])]) for k in at)
                        by_hand.append(float((now - before).abs().sum() / now.abs().sum()))
            assert errors[i, j] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)


def flat(output: Any) -> list[torch.Tensor]:
    parts = output if isinstance(output, tuple) else (output,)
    return [part.flatten() for part in parts]


def test_it_is_calibrated_once_on_ten_samples_that_are_not_evaluated() -> None:
    pipe, asked = dit(), []

    def draw(same: Any, index: int = 0) -> None:
        asked.append(index)
        DIT.run(same, generator=seeded(index))

    method = methods.parse("smoothcache:0.3", STEPS, draw)
    for _ in range(2):
        with method.apply(pipe):
            DIT.run(pipe)
    assert asked == list(range(HELD_OUT, HELD_OUT + RUNS)) and RUNS == 10


def test_kinds_have_plans_of_their_own() -> None:
    """Attention moves little, the MLPs much: only attention is reused."""
    pipe = dit()
    near = {(i, j): 0.01 for j in range(STEPS) for i in range(j)}
    far = dict.fromkeys(near, 0.9)
    errors = {"transformer_blocks.attn1": near, "transformer_blocks.ff": far}
    with smoothcache(pipe, 0.22, errors, STEPS) as cache:
        DIT.run(pipe)
    assert [row for row in cache.steps if not all(row)] == [(False, True) * 2] * 8
    assert cache.report().full_steps == WINDOWS
