"""Under torch.compile the cache draws what it draws without, and takes no graph break for it.

The backend is dynamo's own `eager`: what is tested is that passes can be captured and guarded, and
that needs no compiler on the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import zcache
from zcache import ZCacheConfig

from ..pipelines import BY_NAME, Case

MODELS = [BY_NAME[name] for name in ("flux", "hunyuan", "dit")]


def in_place(pipe: Any) -> None:
    pipe.transformer.compile(backend="eager", fullgraph=True)


def wrapped(pipe: Any) -> None:
    pipe.transformer = torch.compile(pipe.transformer, backend="eager", fullgraph=True)


def repeated_blocks(pipe: Any) -> None:
    pipe.transformer.compile_repeated_blocks(backend="eager", fullgraph=True)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("case", MODELS, ids=str)
@pytest.mark.parametrize(
    ("compiled", "granularity"),
    [(in_place, "stack"), (in_place, "module"), (wrapped, "stack"), (repeated_blocks, "stack")],
)
def test_a_compiled_transformer_is_cached_exactly_and_given_back(
    case: Case, granularity: str, compiled: Callable[[Any], None]
) -> None:
    if compiled is repeated_blocks and case.name == "dit":
        pytest.xfail("diffusers names no repeated blocks for DiT")
    config = ZCacheConfig(interval=4, granularity=granularity)
    pipe = case.build()
    with zcache.enabled(pipe, config):
        expected = case.run(pipe)
    pipe = case.build()
    compiled(pipe)
    plain = case.run(pipe)
    with zcache.enabled(pipe, config) as handle:
        first, second = case.run(pipe), case.run(pipe)
    assert handle.report().fallbacks == ()
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-5)
    assert torch.equal(first, second)
    assert torch.equal(plain, case.run(pipe))
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_a_transformer_that_is_wrapped_after_enable_is_captured_whole(case: Case) -> None:
    config = ZCacheConfig(interval=4)
    pipe = case.build()
    with zcache.enabled(pipe, config):
        expected = case.run(pipe)
    pipe = case.build()
    with zcache.enabled(pipe, config) as handle:
        wrapped(pipe)
        found = case.run(pipe)
    assert handle.report().fallbacks == ()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_second_run_compiles_nothing_more() -> None:
    case = BY_NAME["flux"]
    pipe = case.build()
    in_place(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)):
        case.run(pipe)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        case.run(pipe)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_an_interval_of_one_runs_the_graph_that_is_there(case: Case) -> None:
    """A graph of its own would round otherwise, so the picture would not be the plain one bit for bit."""
    pipe = case.build()
    in_place(pipe)
    plain = case.run(pipe)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with zcache.enabled(pipe, ZCacheConfig(interval=1)):
        assert torch.equal(case.run(pipe), plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0
