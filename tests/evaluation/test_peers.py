"""Everybody's caches in one process: each finds the pipeline as if it were the first."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from zcache import UnsupportedPipelineError
from zcache.commands import main
from zcache.evaluation import methods
from zcache.evaluation.rivals import libraries
from zcache.evaluation.rivals.restoring import as_before

from ..pipelines import BY_NAME, STEPS, Case, dit, flux, seeded

OF_DIFFUSERS = (
    "diffusers-taylorseer:4",
    "diffusers-taylorseer-lite:4",
    "first-block:0.2",
    "mag:0.24",
)
OF_CACHE_DIT = ("cache-dit-mask:4", "cache-dit-foca:4", "cache-dit-dmd:4", "cache-dit:0.5")
OURS = (
    "zcache:4",
    "zcache:4,granularity=module",
    "fora:4",
    "toca:4",
    "duca:4",
    "spectrum:3",
    "seacache:1e9",
    "dpcache:5",
    "smoothcache:0.2",
)


def names(case: Case) -> tuple[str, ...]:
    of_diffusers = () if case.name == "dit" else OF_DIFFUSERS
    return (*OURS[:2], *of_diffusers, *OF_CACHE_DIT, *OURS[2:])


def drawn(case: Case, pipe: Any, name: str) -> torch.Tensor:
    def draw(same: Any, index: int = 0) -> None:
        case.run(same, generator=seeded(index))

    method = methods.parse(name, STEPS, draw)
    with method.apply(pipe):
        return case.run(pipe)


def attributes(pipe: Any) -> list[tuple[int, str, int]]:
    """What every module and the class hold, by identity; containers by what they hold."""
    parts = [*pipe.transformer.modules(), type(pipe)]
    found = []
    for part in parts:
        for key, value in vars(part).items():
            if key in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
                found += [(id(part), f"{key}.{name}", id(child)) for name, child in value.items()]
            else:
                found.append((id(part), key, id(value)))
    return found


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize("case", [BY_NAME[name] for name in ("flux", "dit", "hunyuan")], ids=str)
def test_a_peer_draws_after_all_others_what_it_draws_alone(case: Case, order: int) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    changed = 0
    for name in names(case)[::order]:
        found = drawn(case, pipe, name)
        assert torch.equal(found, drawn(case, case.build(), name)), name
        assert torch.equal(case.run(pipe), plain), name
        changed += not torch.equal(found, plain)
    assert changed >= 5


@pytest.mark.parametrize("name", [*OF_DIFFUSERS, *OF_CACHE_DIT])
def test_a_peer_leaves_nothing_on_modules_and_class(name: str) -> None:
    case, pipe = BY_NAME["flux"], flux()
    case.run(pipe)
    before = attributes(pipe)
    drawn(case, pipe, name)
    assert attributes(pipe) == before


def test_cache_dit_leaves_no_submodule_on_dit() -> None:
    pipe = dit()
    listed = [name for name, _ in pipe.transformer.named_modules()]
    drawn(BY_NAME["dit"], pipe, "cache-dit-mask:4")
    assert [name for name, _ in pipe.transformer.named_modules()] == listed


def test_attributes_submodules_and_the_class_come_back_whatever_happens() -> None:
    pipe = flux()
    before, block = attributes(pipe), pipe.transformer.transformer_blocks[0]
    cls = type(pipe)
    with pytest.raises(KeyError), as_before(pipe):
        block.forward = None
        block.attn = nn.Identity()
        block.more = nn.Identity()
        del pipe.transformer.norm_out
        pipe.transformer.gradient_checkpointing = "yes"
        cls._is_cached = True
        raise KeyError
    assert attributes(pipe) == before and not hasattr(cls, "_is_cached")


def test_modules_with_accelerates_hook_are_left_alone() -> None:
    pipe = flux()
    with as_before(pipe):
        pipe.transformer._hf_hook = "renewed in every run"
    assert pipe.transformer._hf_hook == "renewed in every run"


def test_a_peer_that_fails_when_it_is_put_on_leaves_nothing(monkeypatch) -> None:
    def enable_cache(pipe: Any, **settings: Any) -> None:
        pipe.transformer.forward = None
        raise ValueError("not officially supported")

    monkeypatch.setattr("cache_dit.enable_cache", enable_cache)
    pipe = flux()
    before = attributes(pipe)
    with (
        pytest.raises(UnsupportedPipelineError, match="not officially supported"),
        libraries.cache_dit_mask(pipe, (0, 4), STEPS),
    ):
        pass
    assert attributes(pipe) == before


def test_one_bench_times_every_peer(tinies, tmp_path, capsys) -> None:
    out = tmp_path / "bench.json"
    arguments = ["bench", "--model", tinies["image"], "--steps", "6", "--intervals", "3"]
    named = ["--methods", "smoothcache:0.1", "zcache:3,weight=linear"]
    assert main([*arguments, *named, "--repeats", "1", "--out", str(out), "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)["methods"]
    assert not [row for row in rows if "error" in row]
    assert all(row["restores_bit_exactly"] for row in rows)
    found = [row["name"] for row in rows]
    assert len(set(found)) == len(found)
    leads = ("Z-Cache", "diffusers Taylor", "diffusers First", "diffusers Mag", "cache-dit")
    for lead in (*leads, "ToCa", "DuCa", "SmoothCache", *named[1:]):
        assert any(name.startswith(lead) for name in found)


def test_one_evaluation_takes_every_library() -> None:
    found = methods.expand(["diffusers:5", "cachedit:5", "equal:5"], "mini-flux", 50)
    assert {"first-block:0.1", "cache-dit:0.16", "zcache:5"} <= set(found)
