"""A name for weights, and for which adapters are on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig
from torch import nn

from zcache.measure.fingerprint import fingerprint

from .. import pipelines


def test_that_of_a_model_without_adapters_stands() -> None:
    """Stored evaluations and profiles name it."""
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.fill_(0.5), layer.bias.fill_(1.0)
    assert fingerprint(SimpleNamespace(components={"part": layer})) == "84f304a4d499286b"


def test_adapters_scales_and_switches_are_told_apart() -> None:
    pipe: Any = pipelines.flux()
    transformer, found = pipe.transformer, [fingerprint(pipe)]
    for name in ("a", "b"):
        config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False)
        transformer.add_adapter(config, adapter_name=name)
    for names, scales in ((["a"], [1.0]), (["a"], [0.1]), (["b"], [1.0]), (["a", "b"], [1.0, 1.0])):
        transformer.set_adapters(names, scales)
        found.append(fingerprint(pipe))
        assert fingerprint(pipe) == found[-1]
    transformer.disable_lora()
    found.append(fingerprint(pipe))
    assert len(set(found)) == len(found)
    transformer.enable_lora()
    assert fingerprint(pipe) == found[-2]
