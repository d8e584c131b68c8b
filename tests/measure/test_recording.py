"""Probes watch and change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zcache import ZCacheConfig, enabled
from zcache.measure.recording import record, thinned

from .. import pipelines
from ..planning import planned

STEPS = 9
CONFIG = ZCacheConfig(interval=4)
CASES = {case.name: case for case in pipelines.CASES if case.name in ("flux", "dit", "hunyuan")}
GRANULARITIES = ("stack", "module", "output")


def call_of(case: pipelines.Case) -> dict[str, Any]:
    arguments = case.arguments(STEPS)
    del arguments["generator"]
    return {**arguments, "return_dict": False}


def same(a: Any, b: Any) -> bool:
    """A watched run takes DDIM's steps by the scheduler, an unwatched one in closed form: a last place."""
    return torch.allclose(torch.as_tensor(a[0]), torch.as_tensor(b[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_watched_run_is_the_same_and_leaves_nothing(name):
    case, pipe = CASES[name], CASES[name].build()
    call, scheduler_class = call_of(case), type(pipe.scheduler)

    for config in (None, *(CONFIG.replace(granularity=g) for g in GRANULARITIES)):
        if config is None:
            wanted = pipe(**call, generator=pipelines.seeded())
        else:
            with enabled(pipe, config):
                wanted = pipe(**call, generator=pipelines.seeded())
        assert same(record(pipe, call, config).result, wanted)

    assert type(pipe.scheduler) is scheduler_class
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipe.transformer.modules())


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_visits_are_those_of_the_walk(granularity):
    case = CASES["flux"]
    config = CONFIG.replace(granularity=granularity)

    pipe = case.build()
    visits = record(pipe, call_of(case), config).visits

    words = {"F": "full", "f": "forecast", "r": "reflect"}
    walk = [(int(p[:-1]), words[p[-1]]) for p in str(planned(config, pipe, STEPS)).split()]
    gone_back = {
        n for n in range(len(walk) - 1) if walk[n][1] == "full" and walk[n + 1][1] == "reflect"
    }
    assert [(v.step, v.kind) for v in visits] == walk
    assert [n for n, v in enumerate(visits) if "output" not in v.features] == sorted(gone_back)


def test_a_plain_run_has_every_layer_at_every_step():
    case = CASES["flux"]
    recording = record(case.build(), call_of(case))
    layers = recording.layers()

    assert layers == [
        f"{n}.{i}" for n in ("transformer_blocks", "single_transformer_blocks") for i in (0, 1)
    ]
    assert [visit.step for visit in recording.visits] == list(range(STEPS))
    assert all({*layers, "head", "output", "latent"} == set(v.features) for v in recording.visits)
    assert recording.visits[0].kind == "plain"


def test_cached_passes_have_the_layers_that_their_granularity_runs():
    case, seen = CASES["flux"], {}
    for granularity in GRANULARITIES:
        recording = record(case.build(), call_of(case), CONFIG.replace(granularity=granularity))
        seen[granularity] = set(next(v for v in recording.visits if v.kind == "reflect").features)

    assert seen["output"] == {"output", "latent"}
    assert seen["stack"] == {"output", "latent", "head"}
    assert len(seen["module"]) == 7


def test_interval_one_computes_what_plain_computes():
    case = CASES["dit"]
    pipe, call = case.build(), call_of(case)
    plain, cached = record(pipe, call), record(pipe, call, ZCacheConfig(interval=1))

    for a, b in zip(plain.visits, cached.visits, strict=True):
        assert all(torch.equal(a.features[site], b.features[site]) for site in a.features)


def test_thinning_keeps_the_first_and_the_last_token():
    tokens = torch.arange(100.0)[None, :, None]
    assert thinned(tokens, 4).flatten().tolist() == [0.0, 33.0, 66.0, 99.0]
    assert torch.equal(thinned(tokens, 100), tokens)
