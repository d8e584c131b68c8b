"""FLOPs of a pipeline's transformer, counted by torch's FlopCounterMode around each of its calls.

Whatever the transformer does within a call counts, and nothing else (no text encoder, no VAE), also
where a cache of others has put something between it and its blocks. Two FLOPs per multiply-add of
matrix products, convolutions and attention; torch knows CUDA's fused attention, and here it learns
the CPU's."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


class FlopMeter:
    """While entered, adds up the FLOPs of every call of `pipe.transformer` in `total`."""

    def __init__(self, pipe: Any) -> None:
        self.total = 0
        self._transformer = pipe.transformer
        self._hooks: list[Any] = []
        self._counter: FlopCounterMode | None = None

    def __enter__(self) -> FlopMeter:
        register = (
            self._transformer.register_forward_pre_hook,
            self._transformer.register_forward_hook,
        )
        self._hooks = [register[0](self._begin), register[1](self._end, always_call=True)]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: Any) -> None:
        self._counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
        self._counter.__enter__()

    def _end(self, *_: Any) -> None:
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)
            self.total += counter.get_total_flops()
