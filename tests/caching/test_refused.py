"""Pipelines that cannot be cached say so, and draw what they draw without zcache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
import pytest
import torch

import zcache
from zcache import UnsupportedPipelineError, ZCacheConfig

from ..pipelines import flux
from .families import conditioned
from .families.family import Family, assembled, made, noise
from .families.video import wan_arguments, wan_transformer, wan_vae
from .loops import FLUX


def amused() -> Any:
    transformer = made(
        d.UVit2DModel,
        hidden_size=8,
        cond_embed_dim=8,
        encoder_hidden_size=8,
        micro_cond_encode_dim=2,
        micro_cond_embed_dim=10,
        vocab_size=20,
        codebook_size=16,
        in_channels=8,
        block_out_channels=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        block_num_heads=2,
        intermediate_size=16,
        sample_size=4,
    )
    pipe = assembled(d.AmusedPipeline, transformer, d.AmusedScheduler(mask_token_id=18))
    pipe.vae_scale_factor = 8
    return pipe


def amused_arguments() -> dict[str, Any]:
    return {
        "prompt_embeds": noise(1, 1, 8),
        "negative_prompt_embeds": noise(2, 1, 8),
        "encoder_hidden_states": noise(3, 1, 5, 8),
        "negative_encoder_hidden_states": noise(4, 1, 5, 8),
        "height": 32,
        "width": 32,
        "output_type": "latent",
    }


class Drawn:
    """A decoder that shows the tokens themselves."""

    config = SimpleNamespace(vq_embed_dim=1)
    quantize = SimpleNamespace(get_codebook_entry=lambda tokens, shape: tokens.reshape(shape))

    def decode(self, tokens: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(sample=tokens.permute(0, 3, 1, 2) / 8 - 1)


def vq_diffusion() -> Any:
    transformer = made(
        d.Transformer2DModel,
        num_attention_heads=2,
        attention_head_dim=4,
        num_vector_embeds=12,
        sample_size=4,
        cross_attention_dim=8,
        num_layers=1,
        norm_type="ada_norm",
        num_embeds_ada_norm=16,
        activation_fn="geglu-approximate",
    )
    scheduler = d.VQDiffusionScheduler(num_vec_classes=12, num_train_timesteps=16)
    pipe = assembled(d.VQDiffusionPipeline, transformer, scheduler)
    pipe.vqvae = Drawn()
    pipe._encode_prompt = lambda *_: noise(1, 2, 5, 8)
    return pipe


def any_flow_far() -> Any:
    transformer = wan_transformer(
        d.AnyFlowFARTransformer3DModel, chunk_partition=(1, 1), full_chunk_limit=2
    )
    scheduler = d.FlowMapEulerDiscreteScheduler(shift=3.0)
    return assembled(d.AnyFlowFARPipeline, transformer, scheduler, vae=wan_vae())


SAID = {
    "anyflow-far": "hands back tensors",
    "amused": "tokens",
    "vq-diffusion": "tokens",
    "skyreels-forcing": "the pipeline's scheduler took no step",
}
REFUSED = {
    "anyflow-far": Family("anyflow-far", any_flow_far, wan_arguments),
    "amused": Family("amused", amused, amused_arguments),
    "vq-diffusion": Family(
        "vq-diffusion", vq_diffusion, lambda: {"prompt": "", "output_type": "np"}
    ),
    "skyreels-forcing": Family(
        "skyreels-forcing", conditioned.skyreels_forcing, lambda: wan_arguments(prompt=None)
    ),
}


@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_computed_in_full_and_the_report_says_why(name: str, reflect: bool) -> None:
    family = REFUSED[name]
    pipe = family.build()
    plain = family.run(pipe)
    config = ZCacheConfig(interval=3, granularity="output", reflect=reflect)
    with zcache.enabled(pipe, config) as handle:
        assert torch.equal(family.run(pipe), plain)
    report = handle.report()
    assert set(report.kinds) == {"full"}
    assert any(SAID[name] in said and "in full" in said for said in report.fallbacks)


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_said_where_nothing_was_asked_for(name: str) -> None:
    family = REFUSED[name]
    pipe = family.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity="output")) as handle:
        family.run(pipe)
    assert not any("in full" in said for said in handle.report().fallbacks)


class Slotted:
    """A scheduler that takes no weak reference."""

    __slots__ = ("__dict__",)

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def set_timesteps(self, sigmas: Any = None, device: Any = None, mu: Any = None) -> None:
        self.scheduler.set_timesteps(sigmas=sigmas, device=device, mu=mu)

    def step(self, model_output: Any, timestep: Any, sample: Any, **more: Any) -> Any:
        return self.scheduler.step(model_output, timestep, sample, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["scheduler"], name)


def test_what_takes_no_weak_reference_is_refused_and_leaves_nothing() -> None:
    pipe = flux()
    plain = FLUX.run(pipe)
    classes = type(pipe), type(pipe.transformer), Slotted
    before = [dict(vars(cls)) for cls in classes]
    usual, slotted = pipe.scheduler, Slotted(pipe.scheduler)
    pipe.scheduler = slotted
    with pytest.raises(UnsupportedPipelineError, match=r"Slotted cannot be followed .*__weakref__"):
        zcache.enable(pipe)
    assert [dict(vars(cls)) for cls in classes] == before
    assert torch.equal(FLUX.run(pipe), plain)
    pipe.scheduler = usual
    with zcache.enabled(pipe) as handle:
        FLUX.run(pipe)
        assert handle.report().forecast_passes
        pipe.scheduler = slotted
        assert torch.equal(FLUX.run(pipe), plain)
        assert "cannot be followed" in handle.report().fallbacks[0]
    assert [dict(vars(cls)) for cls in classes] == before
