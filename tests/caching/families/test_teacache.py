"""TeaCache's signals: against the model's own forward, and which model's coefficients they meet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import adapters
from zcache.caching.signals import (
    cogvideox_variant,
    cosmos_variant,
    hidream_variant,
    ltx_variant,
    wan_variant,
)
from zcache.method.teacache import COEFFICIENTS, THRESHOLDS

from .everything import BY_NAME, FAMILIES, pipeline
from .family import denoisers

SIGNALLING = [
    family.name
    for family in FAMILIES
    if (adapter := adapters.find(denoisers(pipeline(family.name))[0])) and adapter.signal
]


@pytest.mark.parametrize("name", SIGNALLING)
def test_teacache_decides_runs_and_repeats(name: str) -> None:
    family, pipe = BY_NAME[name], pipeline(name)
    with zcache.enabled(pipe, ZCacheConfig(interval=3, base="teacache")) as handle:
        first, second = family.run(pipe), family.run(pipe)
    report = handle.report()
    assert torch.equal(first, second) and torch.isfinite(first).all()
    assert report.finished or any("the run ended after" in said for said in report.fallbacks)
    assert report.forecast_passes > 0


def attended(pipe: Any, path: str) -> list[Tensor]:
    """What the first block's attention is given, call by call."""
    seen: list[Tensor] = []
    module = pipe.transformer.get_submodule(path)

    def note(_: Any, args: tuple, kwargs: dict) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    module.register_forward_pre_hook(note, with_kwargs=True)
    return seen


@pytest.mark.parametrize("name", ["flux", "ltx", "mochi", "cosmos-1", "hunyuan-video"])
def test_a_norm_signal_is_what_the_first_attention_is_given(name: str) -> None:
    """The signal at the first step is the first block's input to attention there, by its own forward.
    Cosmos 1 adds its positional embedding before the norm, the signal's authors do not."""
    family, pipe = BY_NAME[name], BY_NAME[name].build()
    if name == "cosmos-1":
        pipe = denoised(pipe)
    first = {"mochi": "attn1", "ltx": "attn1", "cosmos-1": "attn1"}.get(name, "attn")
    seen = attended(pipe, f"transformer_blocks.0.{first}")
    signals: list[Tensor] = []
    with zcache.enabled(pipe, ZCacheConfig(interval=3, base="teacache")) as handle:
        signal = handle._denoisers[0].signal
        measure = type(signal).__call__

        def noting(self: Any, *args: Any) -> Tensor:
            signals.append(measure(self, *args))
            return signals[-1]

        type(signal).__call__ = noting  # type: ignore
        try:
            family.run(pipe)
        finally:
            type(signal).__call__ = measure  # type: ignore
    torch.testing.assert_close(signals[0], seen[0], rtol=1e-5, atol=1e-5)


def denoised(pipe: Any) -> Any:
    """Cosmos 1 with a positional embedding of zero."""
    for parameter in pipe.transformer.learnable_pos_embed.parameters():
        torch.nn.init.zeros_(parameter)
    return pipe


def config(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**values)


@pytest.mark.parametrize(
    ("variant", "values", "word"),
    [
        (wan_variant, {"num_layers": 30, "in_channels": 16, "out_channels": 16}, "1.3B"),
        (wan_variant, {"num_layers": 40, "in_channels": 16, "out_channels": 16}, "14B"),
        (wan_variant, {"num_layers": 40, "in_channels": 36, "out_channels": 16}, "14B, image to video"),
        (cogvideox_variant, {"num_layers": 30, "patch_size_t": None, "ofs_embed_dim": None}, "2b"),
        (cogvideox_variant, {"num_layers": 42, "patch_size_t": None, "ofs_embed_dim": None}, "5b"),
        (cogvideox_variant, {"num_layers": 42, "patch_size_t": 2, "ofs_embed_dim": None}, "1.5-5B"),
        (cogvideox_variant, {"num_layers": 42, "patch_size_t": 2, "ofs_embed_dim": 512}, "1.5-5B-I2V"),
        (ltx_variant, {"num_layers": 28}, "2B"),
        (cosmos_variant, {"extra_pos_embed_type": "learnable"}, "1.0"),
        (cosmos_variant, {"extra_pos_embed_type": None}, "2"),
        (hidream_variant, {"num_layers": 16, "num_single_layers": 32}, "I1"),
    ],
)  # fmt: skip
def test_models_of_one_class_are_told_apart(variant: Any, values: dict, word: str) -> None:
    """The published configs of the models."""
    assert variant(config(**values)) == word


def test_every_model_with_coefficients_has_a_signal_and_thresholds() -> None:
    assert set(COEFFICIENTS) == set(THRESHOLDS)
    described = {name.split(" ")[0] for name in COEFFICIENTS}
    assert all(adapters.described(name).signal is not None for name in described)
    assert all(len(values) == 5 for values in COEFFICIENTS.values())
