"""Which calls are drawn together, and that it changes no picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zcache.errors import ConfigError, UnsupportedPipelineError
from zcache.measure.tune.calls import batches, calls, draw

from ... import pipelines

CLASSES = {"num_inference_steps": 4, "guidance_scale": 1.5}


class Anything:
    def __init__(self, output=None):
        self.output = output

    def __call__(self, **_):
        return self.output()


def batched(prompts, size=4, first_alone=False, **shared):
    return [list(batch) for batch in batches(calls(Anything(), prompts, shared), size, first_alone)]


def test_batches_end_at_multiples_and_the_first_is_alone_where_asked():
    assert batched(["a"] * 10) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batched(["a"] * 6, first_alone=True) == [[0], [1, 2, 3], [4, 5]]
    assert batched([1] * 5, size=2, first_alone=True) == [[0], [1], [2, 3], [4]]
    assert batched(["a"] * 3, size=1) == [[0], [1], [2]]


@pytest.mark.parametrize(
    "shared",
    [
        {"negative_prompt": ["blue"]},
        {"latents": torch.zeros(1)},
        {"generator": torch.Generator()},
        {"num_images_per_prompt": 2},
    ],
)
def test_what_may_belong_to_one_picture_is_not_drawn_with_others(shared):
    assert batched(["a"] * 3, **shared) == [[0], [1], [2]]


def test_other_arguments_end_a_batch():
    asked = ["a", "b", {"prompt": "c", "height": 8}, "d", {"prompt_embeds": torch.zeros(1)}, "e"]
    assert batched(asked, size=8) == [[0, 1], [2], [3], [4], [5]]


@pytest.mark.parametrize(
    ("prompts", "shared", "said"),
    [
        (["a cat"], CLASSES, "DiTPipeline takes no 'prompt'; its call takes class_labels, "),
        ([1], {"steps": 4}, "DiTPipeline takes no 'steps'"),
        ([1, {"labels": [2]}], CLASSES, "DiTPipeline takes no 'labels'"),
    ],
)
def test_what_the_pipeline_does_not_take_is_refused_before_a_run(prompts, shared, said):
    with pytest.raises(ConfigError, match=said):
        calls(pipelines.dit(), prompts, shared)


def test_together_each_call_gives_the_picture_it_gives_alone():
    pipe = pipelines.dit()
    asked = calls(pipe, [0, 1, 2], CLASSES)

    alone = [draw(pipe, [call], seed)[0] for seed, call in enumerate(asked)]
    together = draw(pipe, asked, 0)

    assert np.abs(alone[0] - alone[1]).max() > 0.01
    for one, other in zip(alone, together, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-4)


def test_an_output_that_is_no_picture_and_no_sound_is_refused():
    with pytest.raises(UnsupportedPipelineError, match=r"Anything returns dict.*frames or images"):
        draw(Anything(dict), [{}], 0)


@pytest.mark.parametrize("listed", [False, True])
def test_a_generator_of_the_call_stays_where_it_is(listed):
    pipe, own = pipelines.dit(), pipelines.seeded(3)
    call = calls(pipe, [1], {**CLASSES, "generator": [own] if listed else own})
    one, other = (draw(pipe, call, 0)[0] for _ in range(2))
    assert np.array_equal(one, other)
    assert torch.equal(own.get_state(), pipelines.seeded(3).get_state())
