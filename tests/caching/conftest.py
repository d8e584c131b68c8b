"""Tapes counted, for the tests of cached passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor

from zcache.caching.tape import Tape


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry per play of a tape."""
    counted: list[int] = []
    play = Tape.play

    def counting(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        counted.append(1)
        return play(self, values, lives)

    monkeypatch.setattr(Tape, "play", counting)
    yield counted
