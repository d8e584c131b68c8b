"""The laws on the embedded model, and what reflection is for: nearer pictures at the same full steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

import zcache
from zcache import ZCacheConfig, metrics, models
from zcache.mini import check, scenes

STEPS = 16
CAPTIONS = [scenes.caption(scene) for scene in scenes.samples(4, "held-out", seed=0)]
Draw = Callable[..., np.ndarray]


def loaded() -> FluxPipeline:
    pipe = models.load("mini-flux", "cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    return loaded()


def draw(pipe: FluxPipeline, steps: int = STEPS, prompts: int = 1, **changes: object) -> np.ndarray:
    """Pictures (P, 128, 128, 3) in [0, 1]."""
    call = {**models.find("mini-flux").call, "num_inference_steps": steps, **changes}
    generators = [torch.Generator().manual_seed(seed) for seed in range(prompts)]
    return pipe(prompt=CAPTIONS[:prompts], generator=generators, output_type="np", **call).images


def test_the_folder_is_a_flux_pipeline_with_flux_devs_scheduler(pipe: FluxPipeline) -> None:
    assert type(pipe).__name__ == "FluxPipeline"
    names = ("transformer", "text_encoder", "text_encoder_2", "vae")
    assert [type(getattr(pipe, name)).__name__ for name in names] == [
        "FluxTransformer2DModel",
        "CLIPTextModel",
        "T5EncoderModel",
        "AutoencoderKL",
    ]
    assert pipe.transformer.config.guidance_embeds
    wanted = {
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "shift": 3.0,
        "use_dynamic_shifting": True,
    }
    assert {key: pipe.scheduler.config[key] for key in wanted} == wanted


def test_the_folder_is_small_enough_to_ship() -> None:
    files = [p for p in Path(models.find("mini-flux").source).rglob("*") if p.is_file()]
    assert max(p.stat().st_size for p in files) < 9.5e6
    assert sum(p.stat().st_size for p in files) < 30e6
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_interval_one_is_bit_identical_and_disable_restores(
    pipe: FluxPipeline, granularity: str
) -> None:
    plain = draw(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity=granularity)):
        assert np.array_equal(plain, draw(pipe))
    with zcache.enabled(pipe, ZCacheConfig(interval=4, granularity=granularity)):
        cached = draw(pipe)
        assert np.array_equal(cached, draw(pipe))
    assert not np.array_equal(plain, cached)
    assert np.array_equal(plain, draw(pipe))


def test_a_run_after_an_exception_equals_a_clean_one(pipe: FluxPipeline) -> None:
    def fail(step: int, kind: str, num_steps: int) -> None:
        if kind == "reflect":
            raise KeyboardInterrupt

    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        clean = draw(pipe)
        handle.on_pass = fail
        with pytest.raises(KeyboardInterrupt):
            draw(pipe)
        handle.on_pass = None
        assert np.array_equal(clean, draw(pipe))


def test_two_pipelines_do_not_touch_each_other(pipe: FluxPipeline) -> None:
    other = loaded()
    plain = draw(other)
    with zcache.enabled(pipe, ZCacheConfig(interval=4)):
        cached = draw(pipe)
        assert np.array_equal(plain, draw(other))
    assert not np.array_equal(plain, cached)


def test_reflection_brings_pictures_nearer_at_the_same_full_steps(pipe: FluxPipeline) -> None:
    """The margin on 32 captions and 50 steps is in examples/quality; here four captions tell the sign."""
    plain = draw(pipe, steps=50, prompts=4)
    means = []
    for config in (ZCacheConfig(interval=6), ZCacheConfig(interval=6, reflect=False)):
        with zcache.enabled(pipe, config) as handle:
            pictures = draw(pipe, steps=50, prompts=4)
        means.append(
            np.mean([metrics.psnr(a, b, peak=1.0) for a, b in zip(plain, pictures, strict=True)])
        )
        assert handle.report().full_passes == 10
    assert means[0] > means[1] + 1.0


def test_pictures_obey_their_captions(pipe: FluxPipeline) -> None:
    """The full check is examples/check_mini_flux.py; here at least three of four captions."""
    pictures = draw(pipe, steps=30, prompts=4)
    from PIL import Image

    images = [Image.fromarray((picture * 255).round().astype(np.uint8)) for picture in pictures]
    obeyed = [
        check.obeys(image, caption).obeyed for image, caption in zip(images, CAPTIONS, strict=True)
    ]
    assert sum(obeyed) >= 3, list(zip(CAPTIONS, obeyed, strict=True))


def test_teacache_uses_the_published_coefficients(pipe: FluxPipeline) -> None:
    with zcache.enabled(pipe, ZCacheConfig(interval=4, base="teacache")) as handle:
        draw(pipe)
    report = handle.report()
    assert report.fallbacks == () and report.forecast_passes > 0


def test_true_guidance_reflects_in_both_branches(pipe: FluxPipeline) -> None:
    with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
        draw(pipe, negative_prompt=[""], true_cfg_scale=2.0)
    report = handle.report()
    assert report.full_computations == 2 * report.full_passes
    assert report.reflect_passes > 0 and report.fallbacks == ()
