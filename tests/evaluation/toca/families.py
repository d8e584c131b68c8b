"""What ToCa and DuCa are tried on, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from zcache.caching import adapters
from zcache.evaluation.rivals.toca import rules
from zcache.evaluation.rivals.toca.layers import Tokens
from zcache.evaluation.rivals.toca.on_pipeline import duca, toca
from zcache.evaluation.rivals.toca.rules import Kind, Settings
from zcache.models.architectures import ARCHITECTURES

from ...pipelines import BY_NAME

WAYS = (toca, duca)
FLUX, DIT, HUNYUAN = BY_NAME["flux"], BY_NAME["dit"], BY_NAME["hunyuan"]
FAMILIES = (FLUX, DIT, HUNYUAN)
OTHERS = tuple(
    BY_NAME[name]
    for name in ("flux-true-cfg", "flux-batch", "flux-img2img", "hunyuan-true-cfg", "i2v-replace")
)
F, T, S = Kind.FULL, Kind.TOKENS, Kind.SKIP


def close(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.allclose(left, right, rtol=1e-4, atol=1e-5)


def store(transformer: Any, **settings: Any) -> Tokens:
    numbers = rules.find(type(transformer).__name__)
    return Tokens(transformer, adapters.find(transformer), numbers, Settings(**settings))


def flops(call: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def numbers(name: str) -> rules.Rules:
    return rules.find(ARCHITECTURES[name].config["_class_name"])
