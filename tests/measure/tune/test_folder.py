"""The folder of a tuning: it goes on there, and takes nothing of another one."""

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline
from PIL import Image

import zcache
from zcache import ConfigError
from zcache.measure.fingerprint import fingerprint

from ... import pipelines
from .prompting import STEPS, prompts


def test_a_stopped_tuning_goes_on_where_it_was(tmp_path):
    pipe = pipelines.flux()
    asked = {"full": 3, "effort": 9, "folder": tmp_path, "num_inference_steps": STEPS}
    passes = []
    hook = pipe.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    first = zcache.tune(pipe, prompts(), **asked)
    ran = len(passes)

    again = zcache.tune(pipe, prompts(), **asked)

    hook.remove()
    assert len(passes) == ran
    assert again == first
    with pytest.raises(ConfigError, match="holds another tuning"):
        zcache.tune(pipe, prompts(), **{**asked, "seed": 5})


def test_weights_of_another_model_are_not_taken_for_those_that_were_measured(tmp_path):
    """Same class, same shapes: a finetune, or a LoRA that was fused."""
    asked = {"full": 3, "effort": 9, "folder": tmp_path, "num_inference_steps": STEPS}
    pipe = pipelines.flux()
    zcache.tune(pipe, prompts(), **asked)
    assert fingerprint(pipe) == fingerprint(pipelines.flux())
    with torch.no_grad():
        pipe.transformer.proj_out.weight.mul_(1.01)

    with pytest.raises(ConfigError, match="other model or weights"):
        zcache.tune(pipe, prompts(), **asked)
    assert fingerprint(pipe.to(torch.bfloat16)) != fingerprint(pipelines.flux())


def test_a_picture_of_the_same_size_is_another_call(tmp_path):
    pipe = pipelines.flux(FluxImg2ImgPipeline)
    asked = {"full": 3, "effort": 9, "granularity": "stack", "folder": tmp_path, "strength": 0.9}
    one, other = (Image.fromarray(np.full((16, 16, 3), i, np.uint8)) for i in (0, 9))
    zcache.tune(pipe, prompts(2), image=one, **asked)
    with pytest.raises(ConfigError, match="holds another tuning"):
        zcache.tune(pipe, prompts(2), image=other, **asked)


def test_what_has_no_name_needs_no_folder(tmp_path):
    def look(pipe, step, timestep, tensors):
        return tensors

    asked = {"full": 3, "effort": 9, "granularity": "stack", "callback_on_step_end": look}
    with pytest.raises(ConfigError, match=r"callback_on_step_end .* a function.*tune without"):
        zcache.tune(pipelines.flux(), prompts(2), folder=tmp_path / "new", **asked)
    assert not (tmp_path / "new").exists()
    zcache.tune(pipelines.flux(), prompts(2), **asked)


def test_a_file_that_was_cut_is_named(tmp_path):
    asked = {"full": 3, "effort": 9, "folder": tmp_path, "num_inference_steps": STEPS}
    pipe = pipelines.flux()
    zcache.tune(pipe, prompts(), **asked)
    trials = tmp_path / "calibration" / "trials.json"
    trials.write_text(trials.read_text()[:-20])

    with pytest.raises(ConfigError, match=r"trials\.json is damaged .*remove it"):
        zcache.tune(pipe, prompts(), **asked)
