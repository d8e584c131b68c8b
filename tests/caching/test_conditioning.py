"""Conditioning that changes in the middle of a run: the features of before are another picture's."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

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


def sees(seen: Conditioning, *calls: list[Any]) -> list[int]:
    """The changes of every branch, after one step with these calls."""
    found = [seen.see((1, ordinal), flat) for ordinal, flat in enumerate(calls)]
    seen.end_step()
    return found


def test_what_is_made_anew_at_every_step_is_no_conditioning() -> None:
    seen, kept = Conditioning(), torch.zeros(2)
    for _ in range(4):
        assert sees(seen, [kept, torch.zeros(2), "word", 3]) == [0]
    assert sees(seen, [torch.zeros(2), torch.zeros(2)]) == [1]
    assert sees(seen, [torch.zeros(2), torch.zeros(2)]) == [1]
    assert sees(seen, [torch.zeros(2)]) == [1]


def test_two_tensors_by_turns_are_a_change_at_every_call() -> None:
    seen, one, other = Conditioning(), torch.zeros(2), torch.ones(2)
    assert [sees(seen, [tensor]) for tensor in (one, other, one, other)] == [[0], [0], [1], [2]]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_same_view_is_the_same_tensor(mode: Any) -> None:
    with mode():
        seen, both = Conditioning(), torch.zeros(2, 3)
        assert [sees(seen, [both[:1]]) for _ in range(3)] == [[0]] * 3
        assert sees(seen, [both[1:]]) == [1]
        assert sees(seen, [both[1:].t()]) == [1]  # twice the same was none of these
        assert sees(seen, [both[1:].t()]) == sees(seen, [both[1:].t()]) == [1]
        assert sees(seen, [both[1:]]) == [2]


def test_a_view_that_was_written_into_is_another_one() -> None:
    seen, both = Conditioning(), torch.zeros(2, 3)
    assert sees(seen, [both[:1]]) == sees(seen, [both[:1]]) == [0]
    both.zero_()
    assert sees(seen, [both[:1]]) == [1]


def test_views_of_a_table_that_is_walked_are_no_conditioning() -> None:
    seen, times = Conditioning(), torch.arange(5.0)
    assert [sees(seen, [t.expand(2)], [t]) for t in times] == [[0, 0]] * 5


def test_a_tensor_without_storage_is_known_by_itself() -> None:
    seen, one = Conditioning(), torch.zeros(2, 2).to_sparse()
    assert sees(seen, [one]) == sees(seen, [one]) == [0]
    assert sees(seen, [torch.zeros(2, 2).to_sparse()]) == [1]


def test_two_branches_that_change_places_are_a_change_of_both() -> None:
    seen, one, other, shared = Conditioning(), torch.zeros(2), torch.ones(2), torch.ones(1)
    assert sees(seen, [one, shared], [other, shared]) == [0, 0]
    assert sees(seen, [other, shared], [one, shared]) == [1, 1]
    assert sees(seen, [other, shared], [one, shared]) == [1, 1]


def test_a_branch_that_is_left_out_shows_at_the_one_behind_it() -> None:
    seen, one, other = Conditioning(), torch.zeros(2), torch.ones(2)
    assert sees(seen, [one], [other]) == [0, 0]
    assert sees(seen, [other]) == [1]


def test_a_branch_that_comes_in_front_shows_at_the_call_behind_it() -> None:
    seen, one, other = Conditioning(), torch.zeros(2), torch.ones(2)
    assert sees(seen, [one]) == [0]
    assert seen.see((1, 0), [other]) == 0 and not seen.mistaken
    assert seen.see((1, 1), [one]) == 0 and seen.mistaken == {(1, 0)}
    seen.end_step()
    assert not seen.mistaken and sees(seen, [other], [one]) == [1, 0]


def test_what_one_denoiser_hands_over_to_another_is_no_change() -> None:
    seen, one = Conditioning(), torch.zeros(2)
    for module in (1, 1, 2, 2):
        assert seen.see((module, 0), [one]) == 0
        seen.end_step()


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


class Guided:
    """A loop with two prompts, each a view of one tensor or a tensor of its own, and guidance from a step on."""

    def __init__(self, loop: Loop, views: bool = False) -> None:
        self.loop, self.answers = loop, {}
        prompt = loop.arguments["encoder_hidden_states"]
        self.rows = torch.cat([torch.randn(prompt.shape, generator=seeded(7)), prompt])
        self.prompts = [row[None].clone() for row in self.rows]
        self.views = views

    def call(self, prompt: int, index: int, x: Tensor, t: Tensor) -> Tensor:
        given = self.rows[prompt : prompt + 1] if self.views else self.prompts[prompt]
        v = self.loop.predict(index, x, t, encoder_hidden_states=given)
        self.answers[index, prompt] = v.clone()
        return v

    def guided_from(self, start: int, order: tuple[int, int] = (0, 1)) -> Any:
        def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
            if index < start:
                return self.call(1, index, x, t)
            v = {prompt: self.call(prompt, index, x, t) for prompt in order}
            return v[0] + 4 * (v[1] - v[0])

        return velocity


REUSE = ZCacheConfig(full_steps=(0, 6, 11), granularity="output", base="fora", reflect=False)


@pytest.mark.parametrize("views", [False, True])
def test_guidance_that_begins_with_the_other_prompt_makes_a_full_step(views: bool) -> None:
    guided = Guided(Loop(), views)
    _, report = guided.loop.cached(REUSE, velocity=guided.guided_from(4))
    assert report.full_steps == (0, 4, 6, 11)
    assert not torch.equal(guided.answers[4, 0], guided.answers[0, 1])


def test_what_was_answered_with_another_prompts_features_is_said_and_ends_there() -> None:
    """Its first step shows no tensor twice: only the second call of the next one tells."""
    guided = Guided(Loop())
    _, report = guided.loop.cached(REUSE, velocity=guided.guided_from(1))
    assert report.full_steps == (0, 2, 6, 11)
    assert any("step 1 was answered with the features of another" in r for r in report.fallbacks)
    assert not torch.equal(guided.answers[2, 0], guided.answers[0, 1])


def test_a_call_before_the_first_step_takes_no_place_in_the_next() -> None:
    guided = Guided(Loop())

    def velocity(index: int, x: Tensor, t: Tensor) -> Tensor:
        if index == 0:
            guided.call(0, index, x, t)
        return guided.call(1, index, x, t)

    _, report = guided.loop.cached(REUSE, velocity=velocity)
    assert report.full_steps == (0, 1, 6, 11)
    assert torch.equal(guided.answers[2, 1], guided.answers[1, 1])


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_guidance_from_the_first_step_on_costs_no_full_step(
    views: bool, order: tuple[int, int]
) -> None:
    guided = Guided(Loop(), views)
    _, report = guided.loop.cached(REUSE, velocity=guided.guided_from(0, order))
    assert report.full_steps == (0, 6, 11) and report.fallbacks == ()


def test_no_tensor_is_kept_alive() -> None:
    seen, tensor = Conditioning(), torch.zeros(2)
    sees(seen, [tensor])
    reference, storage = weakref.ref(tensor), StorageWeakRef(tensor.untyped_storage())
    del tensor
    assert reference() is None and storage.expired()
