"""Tiny pipelines, and what the layers of theirs are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zcache.caching import adapters
from zcache.evaluation.rivals.layerwise import plans
from zcache.evaluation.rivals.layerwise.layers import Layer, layers
from zcache.evaluation.rivals.layerwise.router import Router, marks

from ...pipelines import BY_NAME, STEPS, Case, seeded

FLUX, DIT, HUNYUAN = BY_NAME["flux"], BY_NAME["dit"], BY_NAME["hunyuan"]
FAMILIES = (FLUX, DIT, HUNYUAN)
BRANCHES = (BY_NAME["flux-true-cfg"], BY_NAME["hunyuan-true-cfg"])
WINDOWS = (0, 4, 8, 11)  # three reused after each, and the last


def known(pipe: Any) -> list[Layer]:
    return layers(pipe.transformer, adapters.find(pipe.transformer))


def everything(pipe: Any) -> dict[str, plans.Errors]:
    """Errors of 0 for all kinds: what any alpha above 0 reuses as long as it may."""
    pairs = {(i, j): 0.0 for j in range(STEPS) for i in range(j)}
    return {layer.kind: pairs for layer in known(pipe)}


def routed(pipe: Any, *rows: str, steps: int = STEPS) -> Router:
    """A router of these rows in turn, one character a layer."""
    count = len(known(pipe))
    computed = [
        tuple((rows[i % len(rows)] * count)[j] == "1" for j in range(count))
        for i in range(steps // 2)
    ]
    return Router("tiny", steps, tuple(computed), marks(known(pipe)))


def modules(pipe: Any) -> dict[str, int]:
    return {name: id(module) for name, module in pipe.transformer.named_modules()}


def drawn(case: Case) -> Callable[..., Any]:
    return lambda pipe, index=0: case.run(pipe, generator=seeded(index))
