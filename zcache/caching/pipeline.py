"""What zcache finds on a diffusers pipeline."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import AlreadyEnabledError, UnsupportedPipelineError
from . import intercept
from .bindings import inner

DENOISERS = ("transformer", "transformer_2", "unconditional_transformer")


def find_denoisers(pipe: Any) -> list[nn.Module]:
    """Return the pipeline's transformers.

    Raises:
        UnsupportedPipelineError: it has none.
    """
    found = [getattr(pipe, name, None) for name in DENOISERS]
    denoisers = [module for module in found if isinstance(module, nn.Module)]
    if not denoisers:
        raise UnsupportedPipelineError(
            f"{type(pipe).__name__} has no transformer to cache (looked for {', '.join(DENOISERS)}); "
            "give a diffusers pipeline of a diffusion transformer, for example FluxPipeline"
        )
    return denoisers


def other_schedulers(pipe: Any) -> list[Any]:
    """Return the schedulers of the pipeline besides `scheduler`."""
    components = getattr(pipe, "components", {})
    found = {id(part): part for part in components.values() if hasattr(part, "set_timesteps")}
    found.pop(id(pipe.scheduler), None)
    return [part for part in found.values() if hasattr(part, "step")]


def refuse_other_caches(pipe: Any, denoisers: list[nn.Module], sharing: bool = False) -> None:
    """Raise AlreadyEnabledError if the scheduler or a denoiser has a cache, ours or another's.

    With `sharing`, zcache on another pipeline that shares them is let by: it is at work only within
    that pipeline's own calls."""
    parts = [(pipe.scheduler, "step"), *((denoiser, "__call__") for denoiser in denoisers)]
    for instance, method in parts:
        for handler in intercept.handlers(instance, method):
            if not (sharing and getattr(handler, "shares", False)):
                raise AlreadyEnabledError(
                    f"{type(instance).__name__} has a cache of zcache on it already; disable that one first"
                )
    for denoiser in denoisers:
        transformer = inner(denoiser)
        if getattr(transformer, "is_cache_enabled", False):
            raise AlreadyEnabledError(
                f"{type(transformer).__name__} has a diffusers cache enabled; call transformer.disable_cache() first"
            )
        if getattr(transformer, "_is_cached", False) or getattr(pipe, "_is_cached", False):
            raise AlreadyEnabledError(
                f"{type(pipe).__name__} has cache-dit enabled; call cache_dit.disable_cache(pipe) first"
            )
