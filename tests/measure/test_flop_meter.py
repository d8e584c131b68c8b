import pytest
import torch
from diffusers import FluxTransformer2DModel

from zcache import ZCacheConfig, enabled
from zcache.measure.flop_meter import FlopMeter

from .. import pipelines


def test_the_meter_counts_the_matrix_products_and_the_attention_of_the_transformer_alone():
    """One double block on t text and i image tokens of width d: per token QKV and output 4 d^2, feed
    forward 2 * 4 d^2 multiply-adds; attention 2 (t + i)^2 d. Two FLOPs each."""
    t, i, d = 3, 6, 16
    model = FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=0,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(2, 2, 4),
    )

    class Pipe:
        transformer = model

    arguments = {
        "hidden_states": torch.randn(1, i, 4),
        "encoder_hidden_states": torch.randn(1, t, 8),
        "pooled_projections": torch.randn(1, 8),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.zeros(i, 3),
        "txt_ids": torch.zeros(t, 3),
    }
    with torch.no_grad(), FlopMeter(Pipe()) as meter:
        model(**arguments)
        torch.randn(64, 64) @ torch.randn(64, 64)  # between the calls: somebody else's

    blocks = (t + i) * (4 + 8) * d * d + 2 * (t + i) ** 2 * d
    modulations = 2 * 6 * d * d + 2 * d * d  # of both streams, and the head's
    embedders = i * 4 * d + t * 8 * d + (256 + d) * d + (8 + d) * d
    assert meter.total == 2 * (blocks + modulations + embedders + i * d * 4)


@pytest.mark.parametrize("case", pipelines.CASES, ids=str)
def test_the_meter_leaves_no_trace_also_after_an_exception(case):
    pipe = case.build()
    with pytest.raises(ZeroDivisionError), FlopMeter(pipe):
        raise ZeroDivisionError

    assert not pipe.transformer._forward_hooks and not pipe.transformer._forward_pre_hooks
    with enabled(pipe, ZCacheConfig(interval=2)), FlopMeter(pipe) as cached:
        case.run(pipe, 4)
    with FlopMeter(pipe) as plain:
        case.run(pipe, 4)
    assert 0 < cached.total < plain.total
