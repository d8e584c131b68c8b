"""A cached pass with a step's own feature must give the step's own output, and run no block.

Whatever a description of a transformer forgets shows here, after the first full step of a run, before
anything cached is handed back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .bindings import Denoiser, inner
from .features import Feature, leaves
from .stand_ins import Memo

# Relative distance that rounding explains: adding and subtracting a residual, then the head.
ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-6, torch.float16: 2e-2}
COARSE = 6e-2  # bfloat16 and below


def fault(
    denoiser: Denoiser,
    call: Callable[[], Any],
    flat: list[Any],
    feature: Feature,
    output: Any,
    memo: Memo,
) -> str:
    """Return what is wrong with caching this denoiser; empty if nothing is. Costs one cached
    pass. `flat` are the leaves of the call's arguments."""
    name = type(inner(denoiser.module)).__name__
    if {id(leaf) for leaf in leaves(output)} & {id(given) for given in flat}:
        return f"{name} hands back tensors that it was given, in which it may keep a state"
    if denoiser.binding.ignores_arguments:
        return ""
    try:
        with _counted(denoiser) as count:
            again = denoiser.binding.cached(call, feature, output, dict(memo))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return (
            f"a cached pass of {name} failed ({type(error).__name__}: {error}), so its description is not right, or "
            "a hook on it raised this"
        )
    if count[0]:
        return f"a cached pass of {name} ran {count[0]} modules that it should skip, so its description is not right"
    misfit, limit = _distance(output, again)
    if misfit > limit:
        return (
            f"a cached pass of {name} with a step's own feature is {misfit:.2g} of its size off the full one, "
            f"where rounding explains {limit:.2g}, so its description is not right"
        )
    return ""


def _distance(output: Any, again: Any) -> tuple[float, float]:
    """Return the largest relative distance of a tensor to itself, and what rounding explains."""
    worst, limit = 0.0, 0.0
    for one, other in zip(leaves(output), leaves(again), strict=True):
        limit = max(limit, ROUNDING.get(one.dtype, COARSE))
        if one.shape != other.shape:
            return float("inf"), limit
        size = one.double().norm()
        off = (other.double() - one.double()).norm() / size.clamp_min(1e-30)
        if bool(torch.isfinite(size)):
            worst = max(worst, float(off) if bool(torch.isfinite(off)) else float("inf"))
    return worst, limit


@contextmanager
def _counted(denoiser: Denoiser) -> Iterator[list[int]]:
    """Return how often what a cached pass skips runs inside. Hooks would make a compiled
    transformer compile anew, so there nothing is counted."""
    transformer, count = inner(denoiser.module), [0]

    def add(*_: Any) -> None:
        count[0] += 1

    with ExitStack() as stack:
        if transformer is denoiser.module and transformer._compiled_call_impl is None:
            for module in denoiser.binding.skipped():
                stack.callback(module.register_forward_pre_hook(add).remove)
        yield count
