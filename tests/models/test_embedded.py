"""The laws on the embedded models, and what reflection is for: nearer pictures at the same full
steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zcache
from zcache import ZCacheConfig
from zcache.measure import metrics
from zcache.models import loading

from ..embedded import ALL, DIT, FLUX, VIDEO, Embedded

every_model = pytest.mark.parametrize("model", ALL, ids=str)
CONFIG = ZCacheConfig(interval=4)


@every_model
def test_the_folder_is_small_enough_to_ship(model: Embedded) -> None:
    files = [p for p in Path(loading.find(model.name).source).rglob("*") if p.is_file()]
    assert max(p.stat().st_size for p in files) < 9.5e6
    assert sum(p.stat().st_size for p in files) < 30e6
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_all_three_folders_together_stay_small() -> None:
    roots = [Path(loading.find(model.name).source) for model in ALL]
    assert sum(p.stat().st_size for root in roots for p in root.rglob("*") if p.is_file()) < 60e6


CLASSES = {
    FLUX: {
        "pipeline": "FluxPipeline",
        "transformer": "FluxTransformer2DModel",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "T5EncoderModel",
        "vae": "AutoencoderKL",
    },
    VIDEO: {
        "pipeline": "HunyuanVideoPipeline",
        "transformer": "HunyuanVideoTransformer3DModel",
        "text_encoder": "LlamaModel",
        "text_encoder_2": "CLIPTextModel",
        "vae": "AutoencoderKLHunyuanVideo",
    },
    DIT: {
        "pipeline": "DiTPipeline",
        "transformer": "DiTTransformer2DModel",
        "vae": "AutoencoderKL",
    },
}


@every_model
def test_the_classes_are_those_of_the_model_it_stands_for(model: Embedded) -> None:
    pipe = model.pipe()
    pipeline, *parts = CLASSES[model]
    found = {pipeline: type(pipe).__name__}
    found |= {name: type(getattr(pipe, name)).__name__ for name in parts}
    assert found == CLASSES[model]


def test_mini_flux_has_flux_devs_scheduler_and_guidance() -> None:
    pipe = FLUX.pipe()
    wanted = {
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "shift": 3.0,
        "use_dynamic_shifting": True,
    }
    assert {key: pipe.scheduler.config[key] for key in wanted} == wanted
    assert pipe.transformer.config.guidance_embeds


def test_mini_hunyuan_has_hunyuan_videos_shift_and_guidance() -> None:
    pipe = VIDEO.pipe()
    assert pipe.scheduler.config["shift"] == 7.0
    assert pipe.transformer.config.guidance_embeds


def test_mini_dit_samples_with_ddim_and_knows_its_labels() -> None:
    pipe = DIT.pipe()
    assert type(pipe.scheduler).__name__ == "DDIMScheduler"
    assert len(pipe.labels) == 8


@every_model
@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_interval_one_is_bit_identical_and_disable_restores(
    model: Embedded, granularity: str
) -> None:
    pipe = model.pipe()
    plain = model.draw(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity=granularity)):
        assert np.array_equal(plain, model.draw(pipe))
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)):
        cached = model.draw(pipe)
        assert np.array_equal(cached, model.draw(pipe))
    assert not np.array_equal(plain, cached)
    assert np.array_equal(plain, model.draw(pipe))


@every_model
def test_a_run_after_an_exception_equals_a_clean_one(model: Embedded) -> None:
    def fail(step: int, kind: str, num_steps: int) -> None:
        if kind == "reflect":
            raise KeyboardInterrupt

    pipe = model.pipe()
    with zcache.enabled(pipe, CONFIG) as handle:
        clean = model.draw(pipe)
        handle.on_pass = fail
        with pytest.raises(KeyboardInterrupt):
            model.draw(pipe)
        handle.on_pass = None
        assert np.array_equal(clean, model.draw(pipe))


@every_model
def test_two_pipelines_do_not_touch_each_other(model: Embedded) -> None:
    pipe, other = model.pipe(), model.load()
    plain = model.draw(other)
    with zcache.enabled(pipe, CONFIG):
        cached = model.draw(pipe)
        assert np.array_equal(plain, model.draw(other))
    assert not np.array_equal(plain, cached)


@every_model
def test_full_computations_counted_from_outside_are_those_of_the_report(model: Embedded) -> None:
    pipe, seen = model.pipe(), []
    blocks = getattr(pipe.transformer, "single_transformer_blocks", None)
    hook = (blocks or pipe.transformer.transformer_blocks)[-1].register_forward_hook(
        lambda *_: seen.append(1)
    )
    counts = []
    try:
        for reflect in (True, False):
            seen.clear()
            with zcache.enabled(pipe, CONFIG.replace(reflect=reflect)) as handle:
                model.draw(pipe)
            assert len(seen) == handle.report().full_computations
            counts.append(len(seen))
    finally:
        hook.remove()
    assert counts[0] == counts[1]


@every_model
def test_reflection_brings_pictures_nearer_at_the_same_full_steps(model: Embedded) -> None:
    """The margin over more pictures is in examples/quality; here a few tell the sign."""
    pipe = model.pipe()
    plain = model.draw(pipe, steps=50, count=4)
    means = []
    for config in (ZCacheConfig(interval=5), ZCacheConfig(interval=5, reflect=False)):
        with zcache.enabled(pipe, config) as handle:
            pictures = model.draw(pipe, steps=50, count=4)
        means.append(
            np.mean([metrics.psnr(a, b, peak=1.0) for a, b in zip(plain, pictures, strict=True)])
        )
        assert handle.report().full_passes == 11
    assert means[0] > means[1] + 0.5


@every_model
def test_teacache_says_which_coefficients_it_uses(model: Embedded) -> None:
    pipe = model.pipe()
    with zcache.enabled(pipe, CONFIG.replace(base="teacache")) as handle:
        model.draw(pipe)
    report = handle.report()
    assert report.forecast_passes > 0
    if model is DIT:
        assert "no TeaCache coefficients are published" in " ".join(report.fallbacks)
    else:
        assert report.fallbacks == ()
