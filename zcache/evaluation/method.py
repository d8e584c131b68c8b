"""A method in a comparison: ours, a peer's cache, or fewer steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ..caching.enable import enabled
from ..method.config import ZCacheConfig

Apply = Callable[[Any], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Method:
    """A name, how it is put on a pipeline, and what it changes in the call; `family` is the name
    that it shares with itself at other settings, one curve of a plot."""

    name: str
    apply: Apply = field(default=lambda pipe: nullcontext())
    call: dict[str, Any] = field(default_factory=dict)
    family: str = ""

    @classmethod
    def zcache(cls, name: str, config: ZCacheConfig, family: str = "") -> Method:
        return cls(name, lambda pipe: enabled(pipe, config), family=family)
