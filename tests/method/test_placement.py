"""Transformers that are offloaded or quantised are cached like any other."""

from __future__ import annotations

import pytest
import torch

import zcache
from zcache import ZCacheConfig

from ..pipelines import CASES, STEPS

FLUX = next(case for case in CASES if case.name == "flux")
granularity = pytest.mark.parametrize("granularity", ["stack", "module", "output"])


@granularity
@pytest.mark.parametrize("offload", ["leaf_level", "block_level"])
def test_group_offloading_changes_nothing(granularity: str, offload: str) -> None:
    config = ZCacheConfig(interval=4, granularity=granularity)
    pipe = FLUX.build()
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, config):
        expected = FLUX.run(pipe)
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=offload,
        num_blocks_per_group=1 if offload == "block_level" else None,
    )
    with zcache.enabled(pipe, config) as handle:
        assert torch.equal(FLUX.run(pipe), expected)
    assert handle.report().fallbacks == ()
    assert torch.equal(FLUX.run(pipe), plain)


@granularity
def test_int8_weights_keep_the_laws(granularity: str) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    pipe = FLUX.build()
    quantize_(pipe.transformer, Int8WeightOnlyConfig())
    assert type(pipe.transformer.transformer_blocks[0].attn.to_q.weight) is not torch.nn.Parameter
    plain = FLUX.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity=granularity)):
        assert torch.equal(plain, FLUX.run(pipe))
    with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)) as handle:
        first = FLUX.run(pipe)
        assert torch.equal(first, FLUX.run(pipe))
    report = handle.report()
    assert report.fallbacks == () and report.full_passes < STEPS
    assert not torch.equal(plain, first)
    assert torch.equal(plain, FLUX.run(pipe))
