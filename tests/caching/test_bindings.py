"""What a binding takes for a feature, and which outputs may enter guidance."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from zcache.caching import adapters, bindings
from zcache.caching.stack import _residual
from zcache.caching.terms import terms

LIKE = torch.zeros(1, 4, 3)


def test_a_doubled_batch_is_two_terms_and_a_whole_one_is_one() -> None:
    one, two = torch.ones(1, 4, 3), torch.full((1, 4, 3), 2.0)
    found = list(terms([[torch.cat([one, two])]], LIKE))
    assert [float(term.mean()) for term in found] == [1.0, 2.0]
    assert [term.shape for term in terms([[one], [two]], LIKE)] == [LIKE.shape] * 2
    assert list(terms([[torch.ones(1, 5)]], LIKE)) == []


def test_a_residual_needs_both_of_its_ends_in_one_shape() -> None:
    one, two = torch.ones(2, 3), torch.full((2, 3), 3.0)
    assert _residual([one], [two]).tolist() == (two - one).tolist()
    assert [r.tolist() for r in _residual([one, two], [two, one])] == [
        (two - one).tolist(),
        (one - two).tolist(),
    ]
    assert _residual([one], [torch.ones(1, 3)]) is None  # it would broadcast
    assert _residual([None], [two]) is _residual([one], [None]) is None
    assert _residual([one, None], [two, two]) is None


@pytest.mark.parametrize(("variant", "model"), [("5b", "Linear (5b)"), ("", "Linear")])
def test_a_signal_names_the_size_that_its_coefficients_are_fitted_to(
    monkeypatch: pytest.MonkeyPatch, variant: str, model: str
) -> None:
    transformer = nn.Linear(1, 1)
    transformer.config = {}
    adapter = SimpleNamespace(signal=object(), variant=lambda config: variant, head=None)
    monkeypatch.setattr(adapters, "find", lambda _: adapter)
    monkeypatch.setattr(bindings, "first_block", lambda *_: (None, None, None))
    monkeypatch.setattr(bindings, "Head", lambda *_: SimpleNamespace(probing=[]))
    monkeypatch.setattr(bindings, "without_blocks", lambda *_: [])
    assert bindings.Signal(transformer).model == model
