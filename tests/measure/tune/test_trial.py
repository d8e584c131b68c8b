"""Settings tried on the first prompts, then on more."""

from __future__ import annotations

import numpy as np
import pytest

from zcache import ZCacheConfig
from zcache.measure.tune.calls import calls
from zcache.measure.tune.trial import Trials, likeness_of

from ... import pipelines

CONFIG = ZCacheConfig(full_steps=(0, 3, 7))
CALL = {"num_inference_steps": 8, "guidance_scale": 1.0}


@pytest.mark.parametrize("counts", [(1, 4, 5), (2, 5), (3, 4, 5)])
def test_asked_for_more_it_runs_what_has_not_run_and_in_whole_batches(counts):
    """Of five prompts, two at once: as many pictures as asked, or their batch, each that of a trial of all five."""
    pipe, sizes = pipelines.dit(), []
    trials = [
        Trials(pipe, calls(pipe, range(5), CALL), "some", 0, {}, None, print, 2, metered=False)
        for _ in range(2)
    ]
    for each in trials:
        each.reference()
    expected = trials[0].measure(CONFIG)["psnr"]
    decode = pipe.vae.decode
    pipe.vae.decode = lambda latent: sizes.append(len(latent)) or decode(latent)

    for count in counts:
        whole = min(count + count % 2, 5)
        assert trials[1].measure(CONFIG, count)["psnr"] == pytest.approx(expected[:whole])

    assert len(set(expected)) == 5
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_picture_with_numbers_that_are_not_finite_is_as_far_as_one_can_be(wrong: float) -> None:
    """NaN is not below anything, so full steps that gave it would be taken for better ones."""
    plain = np.full((16, 16, 3), 0.5, np.float32)
    other = plain.copy()
    other[3, 4, 1] = wrong
    assert likeness_of(plain, other) == (0.0, 0.0)
    assert likeness_of(plain[..., 0], other[..., 1]) == (0.0, None)
