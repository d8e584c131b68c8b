"""A peer on zcache's own clock: its full steps and forecasts are settings, what it caches or what it watches
is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from ...caching.bindings import Binding, Denoiser, Signal
from ...caching.enable import disable, put_on
from ...caching.handle import ZCache
from ...method.bases import Base
from ...method.config import ZCacheConfig

Parts = Callable[[nn.Module, Any], dict[str, Binding | Signal]]  # of a denoiser and its scheduler


class Peer(ZCache):
    """The cache on one pipeline, with some parts of its denoisers, or its base, replaced."""

    def __init__(self, pipe: Any, config: ZCacheConfig, parts: Parts, base: Base | None) -> None:
        self._parts, self._base = parts, base
        super().__init__(pipe, config)

    def _on_set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super()._on_set_timesteps(original, *args, **kwargs)
        if self._run is not None and self._base is not None:
            self._run.base = self._base
        return result

    def _bound(self, pipe: Any) -> list[Denoiser]:
        return [
            replace(denoiser, **self._parts(denoiser.module, pipe.scheduler))  # type: ignore[arg-type]
            for denoiser in super()._bound(pipe)
        ]


@contextmanager
def driven(
    pipe: Any, config: ZCacheConfig, parts: Parts, base: Base | None = None
) -> Iterator[ZCache]:
    """Put the peer on for the length of the block; raises as `zcache.enable` does.

    Args:
        parts: what replaces `binding` or `signal` of a denoiser.
        base: replaces that of the config.
    """
    handle = put_on(pipe, lambda: Peer(pipe, config, parts, base))
    try:
        yield handle
    finally:
        disable(pipe)
