"""Conditioning that changes in the middle of a run: the features of before are another picture's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import zcache
from zcache import ZCacheConfig
from zcache.caching.conditioning import Conditioning

from ..pipelines import BY_NAME, STEPS, seeded
from .loops import Loop

FLUX, GUIDED = BY_NAME["flux"], BY_NAME["flux-true-cfg"]
SAID = "prompt"


def switch(at: int, name: str = "prompt_embeds", write: bool = False) -> dict[str, Any]:
    """Call arguments that put other embeddings in place after step `at`, or write others into them."""

    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == at:
            other = torch.randn(tensors[name].shape, generator=seeded(99))
            tensors[name] = tensors[name].copy_(other) if write else other
        return tensors

    return {
        "callback_on_step_end": change,
        "callback_on_step_end_tensor_inputs": ["latents", name],
    }


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("write", [False, True], ids=["replaced", "written"])
@pytest.mark.parametrize("at", [2, 4, 6])
def test_the_step_after_a_change_is_full_and_its_window_stays(
    at: int, write: bool, mode: Any
) -> None:
    pipe, full = FLUX.build(), (0, 4, 8)
    with mode(), zcache.enabled(pipe, ZCacheConfig(full_steps=full)) as handle:
        FLUX.run(pipe, **switch(at, write=write))
    report = handle.report()
    assert report.full_steps == tuple(sorted({*full, at + 1}))
    assert any(SAID in reason for reason in report.fallbacks)
    # No feature from before the change goes into a step behind it, and none from behind into one before.
    before = [step for step in full if step <= at][-1]
    kinds = report.kinds[before + 1 : at + 1]
    assert set(kinds) <= {"forecast"}


@pytest.mark.parametrize("write", [False, True], ids=["replaced", "written"])
def test_a_change_behind_the_very_first_step_is_noticed(write: bool) -> None:
    """No tensor has come twice yet: the callback itself tells."""
    pipe = FLUX.build()
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8))) as handle:
        FLUX.run(pipe, **switch(0, write=write))
    assert handle.report().full_steps == (0, 1, 4, 8)
    assert any(SAID in reason for reason in handle.report().fallbacks)


def test_prompts_that_take_turns_leave_nothing_to_cache() -> None:
    pipe = FLUX.build()

    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"prompt_embeds": tensors["prompt_embeds"].flip(0) + step}

    turns = {
        "callback_on_step_end": change,
        "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
    }
    plain = FLUX.run(pipe, **turns)
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8))) as handle:
        cached = FLUX.run(pipe, **turns)
    assert torch.equal(plain, cached)
    assert set(handle.report().kinds) == {"full"}
    assert any(SAID in reason for reason in handle.report().fallbacks)


@pytest.mark.parametrize("names", [[], ["latents"], ["latents", "prompt_embeds"]])
def test_a_callback_that_looks_and_changes_nothing_changes_nothing(names: list[str]) -> None:
    pipe = FLUX.build()

    def look(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: each * 1 if name == "latents" else each for name, each in tensors.items()}

    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8))) as handle:
        FLUX.run(pipe, callback_on_step_end=look, callback_on_step_end_tensor_inputs=names)
    assert handle.report().full_steps == (0, 4, 8) and handle.report().fallbacks == ()


def test_nothing_of_before_reaches_a_step_behind_the_change() -> None:
    """Reuse of the output: a step behind the change gives the output of the full step that the change made."""
    pipe, outputs = FLUX.build(), []
    config = ZCacheConfig(full_steps=(0, 4, 8), granularity="output", base="fora", reflect=False)

    class Noting(FlowMatchEulerDiscreteScheduler):
        def step(self, model_output: Tensor, timestep: Any, sample: Any, **kwargs: Any) -> Any:
            outputs.append(model_output.clone())
            return super().step(model_output, timestep, sample, **kwargs)

    pipe.scheduler = Noting.from_config(pipe.scheduler.config)
    with zcache.enabled(pipe, config):
        FLUX.run(pipe, **switch(5))
    assert torch.equal(outputs[5], outputs[4])
    assert not torch.equal(outputs[6], outputs[5]) and torch.equal(outputs[7], outputs[6])


def test_a_change_of_the_second_branch_is_noticed() -> None:
    pipe = GUIDED.build()
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8))) as handle:
        GUIDED.run(pipe, **switch(5))
    report = handle.report()
    assert report.fallbacks
    assert report.full_computations > 2 * 3


def test_a_run_without_a_change_says_nothing_and_is_as_before() -> None:
    pipe = FLUX.build()

    def same(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors

    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        wanted = FLUX.run(pipe)
        found = FLUX.run(
            pipe,
            callback_on_step_end=same,
            callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        )
    assert torch.equal(found, wanted) and handle.report().fallbacks == ()


def test_what_is_made_anew_at_every_step_is_no_conditioning() -> None:
    seen, kept = Conditioning(), torch.zeros(2)
    for _ in range(4):
        assert seen.see([kept, torch.zeros(2), "word", 3]) == 0
    assert seen.see([torch.zeros(2), torch.zeros(2)]) == 1
    assert seen.see([torch.zeros(2), torch.zeros(2)]) == 1
    assert seen.see([torch.zeros(2)]) == 1


def test_two_tensors_by_turns_are_a_change_at_every_call() -> None:
    seen, one, other = Conditioning(), torch.zeros(2), torch.ones(2)
    assert [seen.see([tensor]) for tensor in (one, other, one, other)] == [0, 0, 1, 2]


def test_a_loop_that_alternates_between_prompts_caches_nothing_from_the_third_step_on() -> None:
    loop = Loop()
    prompts = [
        torch.randn(loop.arguments["encoder_hidden_states"].shape, generator=seeded(i))
        for i in (1, 2)
    ]

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        return loop.predict(index, x, t, encoder_hidden_states=prompts[index % 2])

    _, report = loop.cached(ZCacheConfig(full_steps=(0, 4, 8)), velocity=velocity)
    assert report.kinds == ("full", "forecast", *["full"] * (STEPS - 2))
    assert any(SAID in reason for reason in report.fallbacks)


def test_no_tensor_is_kept_alive() -> None:
    seen, tensor = Conditioning(), torch.zeros(2)
    seen.see([tensor])
    ((reference, _),) = seen._seen
    del tensor
    assert reference() is None
