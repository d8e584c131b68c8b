"""What only the embedded FLUX can tell: captions obeyed, and guidance in two calls."""

from __future__ import annotations

import numpy as np
from PIL import Image

import zcache
from zcache import ZCacheConfig
from zcache.models.mini import check

from ..embedded import FLUX


def test_pictures_obey_their_captions() -> None:
    """The full check is examples/check_mini_flux.py; here at least three of four captions."""
    pictures = FLUX.draw(FLUX.pipe(), steps=30, count=4)
    images = [Image.fromarray((picture * 255).round().astype(np.uint8)) for picture in pictures]
    obeyed = [
        check.obeys(image, caption).obeyed
        for image, caption in zip(images, FLUX.subjects, strict=True)
    ]
    assert sum(obeyed) >= 3, list(zip(FLUX.subjects, obeyed, strict=True))


def test_true_guidance_reflects_in_both_branches() -> None:
    pipe = FLUX.pipe()
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        FLUX.draw(pipe, negative_prompt=[""], true_cfg_scale=2.0)
    report = handle.report()
    assert report.full_computations == 2 * report.full_passes
    assert report.reflect_passes > 0 and report.fallbacks == ()
