"""FLOPs of a pipeline's transformer, counted by torch's own formulas around each of its calls.

Whatever the transformer does within a call counts, and nothing else (no text encoder, no VAE), also
where a cache of others has put something between it and its blocks: torch's FlopCounterMode follows
modules, and loses its way where one of them is wrapped in another. Two FLOPs per multiply-add of
matrix products, convolutions and attention; torch knows CUDA's fused attention, and here the CPU's
is added."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class _Counting(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func._overloadpacket is not _CPU_ATTENTION:
            with self:
                parts = func.decompose(*args, **kwargs)  # a composite: its parts are counted
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        elif func._overloadpacket is _CPU_ATTENTION:
            self.total += sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
        return result


class FlopMeter:
    """While entered, adds up the FLOPs of every call of `pipe.transformer` in `total`."""

    def __init__(self, pipe: Any) -> None:
        self.total = 0
        self._transformer = pipe.transformer
        self._hooks: list[Any] = []
        self._counting: _Counting | None = None

    def __enter__(self) -> FlopMeter:
        module = self._transformer
        self._hooks = [
            module.register_forward_pre_hook(self._begin),
            module.register_forward_hook(self._end, always_call=True),
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: Any) -> None:
        self._counting = _Counting()
        self._counting.__enter__()

    def _end(self, *_: Any) -> None:
        counting, self._counting = self._counting, None
        if counting is not None:
            counting.__exit__(None, None, None)
            self.total += counting.total
