"""A hundred random programs of what users do with one pipeline. Every picture equals that of a fresh
pipeline with the same weights and settings, whatever happened before."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from diffusers import FluxPipeline
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from peft import LoraConfig
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching import intercept

from ..pipelines import CASES, flow_scheduler, flux, flux_arguments

FLUX = next(case for case in CASES if case.name == "flux")
CONFIGS = [
    ZCacheConfig(interval=n, granularity=granularity, base=base)
    for n, granularity, base in (
        (1, "stack", "taylorseer"),
        (3, "stack", "taylorseer"),
        (3, "module", "taylorseer"),
        (4, "output", "fora"),
        (3, "stack", "teacache"),
        (9, "stack", "taylorseer"),
    )
]
SHAPES = [(16, 1), (32, 1), (16, 2)]  # side in pixels, batch
Right = dict[tuple[Any, ...], Tensor]
right: Right = {}


def add_lora(transformer: Any) -> None:
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["to_q", "proj_mlp"], init_lora_weights=False)
    transformer.add_adapter(config)


def draw(pipe: Any, steps: int, shape: tuple[int, int], **more: Any) -> Tensor:
    side, batch = shape
    return pipe(
        **{**flux_arguments(steps, batch), "height": side, "width": side, **more}, return_dict=False
    )[0]


def expected(config: int | None, lora: bool, steps: int, shape: tuple[int, int]) -> Tensor:
    """From a fresh pipeline, which has done nothing else."""
    key = (config, lora, steps, shape)
    if key not in right:
        pipe = flux()
        if lora:
            add_lora(pipe.transformer)
        if config is None:
            right[key] = draw(pipe, steps, shape)
        else:
            with zcache.enabled(pipe, CONFIGS[config]):
                right[key] = draw(pipe, steps, shape)
    return right[key]


class Program(RuleBasedStateMachine):
    @initialize(config=st.integers(0, len(CONFIGS) - 1))
    def begin(self, config: int) -> None:
        self.pipe = flux()
        self.other = FluxPipeline(**{**self.pipe.components, "scheduler": flow_scheduler()})
        self.other.set_progress_bar_config(disable=True)
        self.config: int | None = None
        self.other_config: int | None = None
        self.lora = False
        self.handle: Any = None
        self.enable(config)

    def enable(self, config: int) -> None:
        self.handle, self.config = zcache.enable(self.pipe, CONFIGS[config]), config

    @precondition(lambda self: self.config is None)
    @rule(config=st.integers(0, len(CONFIGS) - 1))
    def enable_again(self, config: int) -> None:
        self.enable(config)

    @precondition(lambda self: self.config is not None)
    @rule()
    def disable(self) -> None:
        zcache.disable(self.pipe)
        self.handle = self.config = None

    @precondition(lambda self: self.other_config is None)
    @rule(config=st.integers(0, len(CONFIGS) - 1))
    def enable_the_other(self, config: int) -> None:
        zcache.enable(self.other, CONFIGS[config])
        self.other_config = config

    @precondition(lambda self: self.other_config is not None)
    @rule()
    def disable_the_other(self) -> None:
        zcache.disable(self.other)
        self.other_config = None

    @rule(steps=st.integers(1, 9), shape=st.sampled_from(SHAPES))
    def run(self, steps: int, shape: tuple[int, int]) -> None:
        found = draw(self.pipe, steps, shape)
        assert torch.equal(found, expected(self.config, self.lora, steps, shape))
        if self.handle is not None:
            assert self.handle.report().finished and self.handle.report().num_steps == steps

    @rule(steps=st.integers(4, 9), shape=st.sampled_from(SHAPES))
    def run_the_other(self, steps: int, shape: tuple[int, int]) -> None:
        found = draw(self.other, steps, shape)
        assert torch.equal(found, expected(self.other_config, self.lora, steps, shape))

    @rule(at=st.integers(0, 7), how=st.sampled_from(["interrupt", "raise"]))
    def stop(self, at: int, how: str) -> None:
        def end(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
            if index == at and how == "raise":
                raise KeyboardInterrupt
            pipe._interrupt = index >= at
            return {}

        try:
            draw(self.pipe, 9, SHAPES[0], callback_on_step_end=end)
        except KeyboardInterrupt:
            assert how == "raise"
        self.pipe._interrupt = False

    @rule(at=st.integers(0, 7), shape=st.sampled_from(SHAPES), direct=st.booleans())
    def run_with_others_in_between(self, at: int, shape: tuple[int, int], direct: bool) -> None:
        inside: list[Tensor] = []

        def others(pipe: Any, index: int, timestep: Any, kwargs: dict) -> dict:
            if index == at and direct:
                inside.append(self.call(index))
            elif index == at:
                inside.append(draw(self.other, 4, SHAPES[0]))
            return {}

        found = draw(self.pipe, 9, shape, callback_on_step_end=others)
        assert torch.equal(found, expected(self.config, self.lora, 9, shape))
        wanted = self.call(at) if direct else expected(self.other_config, self.lora, 4, SHAPES[0])
        assert torch.equal(inside[0], wanted)

    @torch.no_grad()
    def call(self, seed: int) -> Tensor:
        """The transformer by itself."""
        given = flux_arguments(1)
        tokens = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(seed))
        return self.pipe.transformer(
            hidden_states=tokens,
            encoder_hidden_states=given["prompt_embeds"],
            pooled_projections=given["pooled_prompt_embeds"],
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([3.5]),
            txt_ids=torch.zeros(6, 3),
            img_ids=torch.zeros(4, 3),
        )[0]

    @rule()
    def call_directly(self) -> None:
        first = self.call(3)
        if self.config is None and self.other_config is None:
            assert torch.equal(first, self.call(3))
        twin = flux()
        if self.lora:
            add_lora(twin.transformer)
        pipe, self.pipe = self.pipe, twin
        wanted = self.call(3)
        self.pipe = pipe
        assert torch.equal(first, wanted)

    @rule()
    def swap_the_scheduler(self) -> None:
        self.pipe.scheduler = flow_scheduler()

    @rule()
    def swap_the_transformer(self) -> None:
        self.pipe.transformer = flux().transformer
        self.other.transformer = self.pipe.transformer
        if self.lora:
            add_lora(self.pipe.transformer)

    @rule()
    def switch_lora(self) -> None:
        if self.lora:
            self.pipe.transformer.delete_adapters("default")
        else:
            add_lora(self.pipe.transformer)
        self.lora = not self.lora

    def teardown(self) -> None:
        if self.config is not None:
            zcache.disable(self.pipe)
        if self.other_config is not None:
            zcache.disable(self.other)
        for instance, method in (
            (self.pipe, "__call__"),
            (self.pipe.scheduler, "step"),
            (self.pipe.transformer, "__call__"),
        ):
            assert not intercept.is_armed(instance, method)


def test_a_hundred_programs() -> None:
    run_state_machine_as_test(
        Program,
        settings=settings(
            max_examples=100,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
