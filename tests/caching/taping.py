"""Runs of tiny pipelines that may play tapes, and the same runs through the modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import cached_pass

from ..pipelines import BY_NAME, Case

FLUX = BY_NAME["flux"]
CONFIG = ZCacheConfig(interval=4)


def draw(case: Case, config: ZCacheConfig = CONFIG, pipe: Any = None, **more: Any) -> Tensor:
    pipe = pipe or case.build()
    with zcache.enabled(pipe, config):
        return case.run(pipe, **more)


def through_modules(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], Tensor]) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(cached_pass, "MOST_RECORDINGS", 0)
        return draw()
