"""ToCa and DuCa. The published costs, at full size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from zcache.evaluation import methods, printed
from zcache.evaluation.rivals.toca.rules import Settings, plan, share
from zcache.measure.flop_estimate import pass_cost
from zcache.models.architectures import ARCHITECTURES

from .families import (
    F,
    S,
    T,
    flops,
    numbers,
    store,
)


def meta(name: str) -> tuple[Any, Callable[[], Any]]:
    architecture = ARCHITECTURES[name]
    transformer = architecture.build("meta")
    with torch.device("meta"):
        arguments = architecture.arguments(architecture.shape, architecture.config)
    return transformer, lambda: transformer(**arguments)


TOKENS = {"flux-dev": (512, 4096), "hunyuan-video": (256, 20400), "dit-xl-2": (256,)}
BATCH = {"dit-xl-2": 2}  # with classifier-free guidance


def mlps(name: str, settings: Settings, step: int) -> int:
    """FLOPs of the chosen tokens' MLPs: 16 d^2 each, 18 d^2 in single-stream blocks, where text and
    image are one stream."""
    known, config = numbers(name), ARCHITECTURES[name].config
    width = config["num_attention_heads"] * config["attention_head_dim"]
    total = 0
    for stream in known.streams:
        single = stream.startswith("single")
        blocks = config["num_single_layers" if single else "num_layers"]
        for block in range(blocks):
            part = share(settings, known, stream, block, blocks, step, 50)
            counts = (sum(TOKENS[name]),) if single else TOKENS[name]
            total += sum(int(part * count) for count in counts) * (18 if single else 16)
    return BATCH.get(name, 1) * total * width**2


@pytest.mark.parametrize(
    ("name", "step", "tflops"),
    [("flux-dev", 5, 4.511), ("hunyuan-video", 6, 20.47), ("dit-xl-2", 49, 0.1605)],
)
def test_a_tokens_step_of_the_full_models(name: str, step: int, tflops: float) -> None:
    """FLUX: 4.51 TFLOPs. HunyuanVideo: 20.47 against 26.29 of the published code, where
    single-stream blocks also compute q, k and v of the chosen tokens: 24 d^2 instead of 18 d^2 for
    each of 102,800 tokens are the 5.82 between them. DiT at its last step: 3 x 0.07 x 2.5 of the
    tokens' MLPs, which are 0.304 of 0.475, and the modulations."""
    transformer, call = meta(name)
    cache = store(transformer, interval=5, ratio=0.93 if name == "dit-xl-2" else None)
    cache.full(call)
    found = flops(lambda: cache.tokens(call, step, 50))

    settings = Settings(5, ratio=0.93 if name == "dit-xl-2" else None)
    assert found == pass_cost(name, "module").cached + mlps(name, settings, step)
    assert found / 1e12 == pytest.approx(tflops, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "title"),
    [
        (model, row.title)
        for model in printed.TABLES
        for row in printed.rows(model)
        if row.title.startswith(("ToCa", "DuCa"))
    ],
)
def test_the_papers_rows_cost_what_is_printed(model: str, title: str) -> None:
    """Within 0.1 % on FLUX (N=12: and one step of tokens, as if there had been 51), 1.5 % on DiT, and
    from below within 3.5 % on HunyuanVideo, whose tokens steps are cheaper here."""
    row = next(row for row in printed.rows(model) if row.title == title)
    word, _, rest = row.method.partition(":")
    values = methods._settings(rest, {"ratio", "warmup", "coded"})
    settings = Settings(**values, dual=word == "duca")
    cost, skip = pass_cost(model, "module"), pass_cost(model, "stack").cached
    kinds = plan(settings, numbers(model), 50)
    tokens = [cost.cached + mlps(model, settings, i) for i, kind in enumerate(kinds) if kind is T]
    total = kinds.count(F) * cost.full + kinds.count(S) * skip + sum(tokens)
    if (model, title) == ("flux-dev", "ToCa (N=12)"):
        total += tokens[0]

    within = {"flux-dev": 1e-3, "dit-xl-2": 15e-3, "hunyuan-video": 35e-3}[model]
    assert total / 1e12 == pytest.approx(row.values["tflops"], rel=within)
    assert model != "hunyuan-video" or total / 1e12 < row.values["tflops"]
