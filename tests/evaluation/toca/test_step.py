"""ToCa and DuCa. Laws of one step, on tiny pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from zcache.caching import adapters
from zcache.caching.bindings import bind

from ...pipelines import Case
from .families import (
    FAMILIES,
    close,
    flops,
    store,
)

At = Callable[[int], Callable[[], torch.Tensor]]


def recorded(case: Case) -> tuple[Any, At]:
    """The transformer of a pipeline, and its calls by step."""
    pipe = case.build()
    calls: list[Any] = []
    hook = pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    case.run(pipe)
    hook.remove()

    def call(step: int) -> torch.Tensor:
        args, kwargs = calls[step]
        with torch.no_grad():
            return pipe.transformer(*args, **{**kwargs, "return_dict": False})[0]

    return pipe.transformer, lambda step: lambda: call(step)


@pytest.mark.parametrize("ratio", [0, 0.5, 0.9, 1])
@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_on_the_input_of_the_full_step_every_step_gives_its_output(
    case: Case, ratio: float
) -> None:
    """Whichever tokens are computed anew: they come out as they are stored."""
    transformer, at = recorded(case)
    cache, call = store(transformer, interval=4, ratio=ratio), at(6)
    plain = call()

    assert torch.equal(cache.full(call), plain)
    assert close(cache.tokens(call, 10, 12), plain)
    assert close(cache.tokens(call, 11, 12), plain)
    assert close(cache.skip(call), plain)


@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_the_chosen_tokens_features_change_and_no_others(case: Case) -> None:
    transformer, at = recorded(case)
    cache = store(transformer, interval=4, ratio=0.6)
    cache.full(at(3))
    layers = [layer for layer, *_ in cache._layers]
    old = [layer.feature for layer in layers]
    cache.tokens(at(8), 4, 12)

    for layer, feature in zip(layers, old, strict=True):
        changed = (layer.feature != feature).any(-1)
        chosen = torch.zeros_like(changed).scatter(1, layer.chosen, True)
        assert torch.equal(changed, chosen)
        assert torch.equal(layer.age, (~chosen).float())
        assert (chosen.sum(1) == int(layer.share * chosen.shape[1])).all()
    assert all(layer.chosen.shape[1] for layer in layers)


@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_a_tokens_step_pays_for_the_chosen_tokens_only(case: Case) -> None:
    """A cached pass of all layers, and per chosen token two operations for each weight of its MLP:
    d x 4d and 4d x d make 16 d^2; a single-stream block's d x 4d and 5d x d make 18 d^2."""
    transformer, at = recorded(case)
    cache, call = store(transformer, interval=4, ratio=0.8), at(8)
    cache.full(call)
    binding = bind("module", transformer)
    output, feature = binding.full(call, {})
    reuse = flops(lambda: binding.cached(call, feature, output, {}))
    wanted = reuse
    tokens = flops(lambda: cache.tokens(call, 10, 12))
    for layer, stream, *_ in cache._layers:
        batch, _, width = layer.feature.shape
        operations = (18 if stream.startswith("single") else 16) * width**2
        wanted += batch * layer.chosen.shape[1] * operations

    assert tokens == wanted
    assert reuse < tokens < flops(call)


@pytest.mark.parametrize("case", FAMILIES, ids=str)
def test_a_skip_step_runs_no_block(case: Case) -> None:
    transformer, at = recorded(case)
    cache, call = store(transformer, interval=4, dual=True), at(8)
    cache.full(call)
    ran = []
    adapter = adapters.find(transformer)
    hooks = [
        part.register_forward_pre_hook(lambda module, args: ran.append(module))
        for blocks in adapter.blocks
        for block in getattr(transformer, blocks.name)
        for part in (block, *(getattr(block, name) for name in (*blocks.features, *blocks.bypass)))
    ]
    spent = flops(lambda: cache.skip(call))
    assert ran == []
    call()
    assert len(ran) == len(hooks)
    assert spent < flops(lambda: cache.tokens(call, 10, 12))
