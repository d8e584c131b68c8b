"""The unrolled path, written out: what zcache does inside unmodified pipelines, as an explicit
loop.

Shares nothing with the package: features are taken and put with torch hooks, the forecasts of order 1
and 2 and the blend are spelt out, guidance, the scheduler's arithmetic and its noise levels are the
caller's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Calls = Callable[
    [int, Tensor], list[dict[str, Any]]
]  # denoiser arguments of every call at (step, latent)


def block_lists(transformer: nn.Module) -> list[nn.ModuleList]:
    lists = [
        transformer.transformer_blocks,
        getattr(transformer, "single_transformer_blocks", None),
    ]
    return [blocks for blocks in lists if blocks is not None]


def layer_sites(transformer: nn.Module) -> list[nn.Module]:
    """Every module whose output is a feature before the gate."""
    sites = []
    for block in transformer.transformer_blocks:
        sites += [
            getattr(block, n)
            for n in ("attn", "attn1", "ff", "ff_context")
            if getattr(block, n, None)
        ]
    for block in getattr(transformer, "single_transformer_blocks", ()):
        sites.append(block.proj_out)
    return sites


def run_stack(
    transformer: nn.Module, arguments: dict, residual: Tensor | None
) -> tuple[Any, Tensor]:
    """The model in full (residual None), or with every block returning its input and the residual
    at the head."""
    seen: dict[str, Tensor] = {}

    def entry(module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.setdefault("in", kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

    def skip(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if torch.is_tensor(output):
            return hidden
        text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[1]
        flux_order = type(module).__name__.startswith("Flux")
        return (text, hidden) if flux_order else (hidden, text)

    def head(module: nn.Module, args: tuple) -> Any:
        seen["out"] = args[0]
        return None if residual is None else (args[0] + residual, *args[1:])

    blocks = [block for blocks in block_lists(transformer) for block in blocks]
    handles = [blocks[0].register_forward_pre_hook(entry, with_kwargs=True)]
    if residual is not None:
        handles += [block.register_forward_hook(skip, with_kwargs=True) for block in blocks]
    handles.append(transformer.norm_out.register_forward_pre_hook(head))
    try:
        output = transformer(**arguments, return_dict=False)[0]
    finally:
        for handle in handles:
            handle.remove()
    return output, seen["out"] - seen["in"]


def run_layers(transformer: nn.Module, arguments: dict, features: list | None) -> tuple[Any, list]:
    """The model in full (features None), or with every layer's output replaced by a given
    feature."""
    seen: list[Any] = []
    sites = layer_sites(transformer)

    def record(module: nn.Module, args: tuple, output: Any) -> None:
        seen.append(output)

    def replace(value: Any) -> Callable:
        return lambda module, args, output: value

    handles = [
        site.register_forward_hook(record if features is None else replace(features[i]))
        for i, site in enumerate(sites)
    ]
    try:
        output = transformer(**arguments, return_dict=False)[0]
    finally:
        for handle in handles:
            handle.remove()
    return output, seen


def leafwise(rule: Callable[..., Tensor], *features: Any) -> Any:
    """A rule for tensors, on nested tuples of them."""
    if torch.is_tensor(features[0]):
        return rule(*features)
    return type(features[0])(leafwise(rule, *each) for each in zip(*features, strict=True))


def mix(a: Any, b: Any, t: float) -> Any:
    """a + t (b - a), leaf by leaf."""
    return leafwise(lambda x, y: x + t * (y - x), a, b)


def forecast(anchors: list[tuple[int, Any]], step: int, order: int = 1) -> Any:
    """The newest anchor itself if there is one only; the line through the two newest; at order 2, where
    there are three, the published recursion through them."""
    if len(anchors) == 1 or order == 0:
        return anchors[-1][1]
    (s1, f1), (s2, f2) = anchors[-2:]
    if len(anchors) == 2 or order == 1:
        return mix(f1, f2, (step - s1) / (s2 - s1))
    (s0, f0), x = anchors[-3], step - s2

    def rule(f0: Tensor, f1: Tensor, f2: Tensor) -> Tensor:
        slope, former_slope = (f2 - f1) / (s2 - s1), (f1 - f0) / (s1 - s0)
        curvature = (slope - former_slope) / (s2 - s1)
        return f2 + slope * x + curvature * x**2 / 2

    return leafwise(rule, f0, f1, f2)


def sample(
    transformer: nn.Module,
    calls: Calls,
    combine: Callable[[list[Any]], Tensor],
    advance: Callable[[int, Tensor, Tensor], Tensor],
    latent: Tensor,
    num_steps: int,
    full: tuple[int, ...],
    module_level: bool,
    relax: Callable[[int, int], float] = lambda start, stop: 1.0,
    order: int = 1,
) -> Tensor:
    """Zig-zag sampling with logarithmic weights (Fig. 3, Sec. 3.3); `relax` gives the share of the
    correction that is kept in the window from start to stop."""
    run = run_layers if module_level else run_stack
    anchors: dict[int, list[tuple[int, Any]]] = {}

    def evaluate(step: int, x: Tensor, features: list[Any]) -> Tensor:
        return combine(
            [run(transformer, a, f)[0] for a, f in zip(calls(step, x), features, strict=True)]
        )

    def compute(step: int, x: Tensor) -> Tensor:
        outputs = []
        for index, arguments in enumerate(calls(step, x)):
            output, feature = run(transformer, arguments, None)
            outputs.append(output)
            anchors.setdefault(index, []).append((step, feature))
        return combine(outputs)

    latent = advance(0, compute(0, latent), latent)
    for start, stop in itertools.pairwise(full):
        saved = latent
        for k in range(start + 1, stop):
            latent = advance(
                k, evaluate(k, latent, [forecast(a, k, order) for a in anchors.values()]), latent
            )
        tentative = latent
        velocity = compute(stop, latent)
        if stop - start > 1:
            latent = saved
            for k in range(start + 1, stop):
                w = math.log(k - start + 1) / math.log(stop - start + 1)
                blended = [
                    mix(forecast(a[:-1], k, order), forecast(a, k, order), w)
                    for a in anchors.values()
                ]
                latent = advance(k, evaluate(k, latent, blended), latent)
            latent = tentative + relax(start, stop) * (latent - tentative)
            velocity = evaluate(stop, latent, [a[-1][1] for a in anchors.values()])
        latent = advance(stop, velocity, latent)
    for k in range(full[-1] + 1, num_steps):
        latent = advance(
            k, evaluate(k, latent, [forecast(a, k, order) for a in anchors.values()]), latent
        )
    return latent
