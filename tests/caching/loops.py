"""Loops of our own, to do in a run what pipelines and their users may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig

from ..pipelines import BY_NAME, STEPS, flux

FLUX = BY_NAME["flux"]
every_granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])


class Loop:
    """FLUX's loop, with a place for every oddity."""

    def __init__(self) -> None:
        self.pipe = flux()
        seen: dict[str, Any] = {}
        hook = self.pipe.transformer.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
        )
        FLUX.run(self.pipe)
        hook.remove()
        self.arguments = seen
        generator = torch.Generator().manual_seed(1)
        self.latent = torch.randn(seen["hidden_states"].shape, generator=generator)

    def predict(
        self, step: int, x: Tensor, t: Tensor, batch: int = 1, model: Any = None, **more: Any
    ) -> Tensor:
        given = {
            name: value.repeat(batch, *[1] * (value.ndim - 1))
            if name in ("encoder_hidden_states", "pooled_projections", "guidance")
            else value
            for name, value in self.arguments.items()
        }
        given |= {"hidden_states": torch.cat([x] * batch), "timestep": t.expand(batch) / 1000}
        given |= more
        return (model or self.pipe.transformer)(**given)[0]

    @torch.no_grad()
    def run(
        self,
        velocity: Callable[[int, Tensor, Tensor], Tensor] | None = None,
        step: Callable[[Any, Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        scheduler, x = self.pipe.scheduler, self.latent.clone()
        scheduler.set_timesteps(STEPS, mu=0.5)
        for index, t in enumerate(scheduler.timesteps):
            v = velocity(index, x, t) if velocity else self.predict(index, x, t)
            x = step(scheduler, v, t, x) if step else scheduler.step(v, t, x, return_dict=False)[0]
        return x

    def cached(self, config: ZCacheConfig, **oddities: Any) -> tuple[Tensor, Any]:
        with zcache.enabled(self.pipe, config) as handle, handle.sampling():
            x = self.run(**oddities)
        return x, handle.report()


def guided_until(loop: Loop, last: int, model: Any = None) -> Callable[..., Tensor]:
    """Guidance in a doubled batch up to step `last`, none afterwards (a cut-off, truncated CFG)."""

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        if index > last:
            return loop.predict(index, x, t)
        one, two = loop.predict(index, x, t, batch=2).chunk(2)
        return two + 2.0 * (one - two)

    return velocity
