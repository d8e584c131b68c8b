"""tune on real pipelines at small size."""

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline

import zcache
from zcache import ConfigError, ProfileError, UnsupportedPipelineError, ZCacheConfig
from zcache.caching import intercept
from zcache.measure.tune import gram as gram_module
from zcache.measure.tune.gram import recording
from zcache.measure.tune.search import Search

from ... import pipelines
from ...caching.families import audio
from .prompting import STEPS, prompts

CASES = [case for case in pipelines.CASES if case.name in ("flux", "flux-true-cfg", "dit")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_recording_changes_nothing_and_leaves_nothing(case):
    pipe = case.build()
    plain = case.run(pipe)

    with recording(pipe, "stack", "output") as rows:
        assert torch.equal(case.run(pipe), plain)
        grams = [row.gram() for row in rows.values()]

    for gram in grams:
        assert gram.shape == (pipelines.STEPS, pipelines.STEPS)
        assert np.array_equal(gram, gram.T)
        assert np.linalg.eigvalsh(gram).min() > -1e-9 * gram.max()
    assert not np.allclose(*grams)
    assert not intercept.is_armed(pipe.transformer, "__call__")
    assert torch.equal(case.run(pipe), plain)


def test_the_gram_matrix_is_that_of_the_outputs(monkeypatch):
    case, outputs = CASES[0], []
    pipe = case.build()
    monkeypatch.setattr(gram_module, "SLICE", 7)  # smaller than a row, and not a part of it
    hook = pipe.transformer.register_forward_hook(lambda _, __, out: outputs.append(out[0]))

    with recording(pipe, "stack", "output") as rows:
        case.run(pipe)
        gram = rows["output"].gram()
    hook.remove()

    matrix = torch.stack([output.flatten() for output in outputs]).double()
    expected = (matrix @ matrix.T / matrix.shape[1]).numpy()
    assert gram == pytest.approx(expected, rel=1e-12)


def test_a_profile_is_found_measured_and_runs():
    pipe, told = pipelines.flux(), []

    profile = zcache.tune(
        pipe, prompts(), full=4, budgets=[3, 5], effort=14, told=told.append,
        num_inference_steps=STEPS,
    )  # fmt: skip

    assert profile.default == 4
    assert set(profile.budgets) == set(profile.figures) == {3, 4, 5}
    assert profile.model == "FluxTransformer2DModel"
    assert profile.call["num_inference_steps"] == STEPS
    for count, config in profile.budgets.items():
        assert len(config.full_steps) == count
        assert profile.figures[count]["prompts"] == 1
        assert profile.figures[count]["psnr"] > 0
    assert "uncached runs' time" in told[0]
    handle = zcache.enable(pipe, profile)
    pipe(**prompts()[0])
    report = handle.report()
    assert report.full_steps == profile.config().full_steps
    assert report.fallbacks == ()
    zcache.disable(pipe)


@pytest.mark.parametrize("cls", [FluxImg2ImgPipeline, FluxInpaintPipeline])
def test_a_pipeline_that_begins_in_the_middle_is_tuned_on_the_steps_it_takes(cls):
    pipe = pipelines.flux(cls)
    more = {"image": pipelines.picture(), "num_inference_steps": 12, "strength": 0.5}
    if cls is FluxInpaintPipeline:
        more["mask_image"] = pipelines.mask()
    calls = [call | more for call in prompts(2)]

    profile = zcache.tune(pipe, calls, full=3, effort=9, granularity="stack")

    assert len(profile.config().times) == 6
    with zcache.enabled(pipe, profile) as handle:
        pipe(**calls[0])
    report = handle.report()
    assert report.num_steps == 6 and report.full_steps == profile.config().full_steps
    assert report.fallbacks == ()
    with pytest.raises(ConfigError, match=r"full is 7.*6"):
        zcache.tune(pipe, calls, full=7, effort=9)


def test_more_steps_than_the_scheduler_has_noise_levels_of_are_refused():
    class Twice(FluxPipeline):
        """Draws two pictures in one call, one after the other."""

        def __call__(self, *args, **kwargs):
            super().__call__(*args, **kwargs)
            return super().__call__(*args, **kwargs)

    with pytest.raises(UnsupportedPipelineError, match=r"took 16 steps in a run, and has .* of 8"):
        zcache.tune(pipelines.flux(Twice), prompts(2), full=3, effort=9, num_inference_steps=STEPS)


@pytest.mark.parametrize("goal", [{"full": 3}, {"psnr": 20}], ids=["full", "psnr"])
def test_a_model_that_gives_no_numbers_is_refused_after_its_first_run(goal, tmp_path):
    pipe, told = pipelines.dit(), []
    with torch.no_grad():
        pipe.transformer.proj_out_2.weight.fill_(float("nan"))

    with pytest.raises(UnsupportedPipelineError, match="calibration prompt 1 gives NaN"):
        zcache.tune(
            pipe, [0, 1, 2], effort=40, told=told.append, folder=tmp_path,
            num_inference_steps=STEPS, **goal,
        )  # fmt: skip

    assert sum("uncached run " in line for line in told) == 1
    assert not list(tmp_path.rglob("*.npz"))


def test_a_pipeline_of_sound_is_tuned():
    pipe, call = pipelines.quiet(audio.stable_audio()), audio.stable_audio_arguments()
    calls = [
        {name: value for name, value in call.items() if name not in ("generator", "output_type")}
    ] * 2

    profile = zcache.tune(
        pipe, calls, full=3, effort=9, granularity="stack", num_inference_steps=STEPS
    )

    figures = profile.figures[3]
    assert figures["psnr"] > 0 and figures["ssim"] is None and figures["flops_speedup"] > 1
    with zcache.enabled(pipe, profile) as handle:
        pipe(**calls[0], num_inference_steps=STEPS)
    assert handle.report().full_steps == profile.config().full_steps


def test_prompts_drawn_together_give_the_profile_of_prompts_drawn_alone():
    found, drawn = [], []
    for batch in (1, 2):
        pipe, sizes = pipelines.dit(), []
        pipe.transformer.register_forward_pre_hook(
            lambda _, args, sizes=sizes: sizes.append(len(args[0]))
        )
        found.append(
            zcache.tune(
                pipe, [0, 1, 2, 3], held_out=[1, 2], full=3, effort=16, batch=batch,
                num_inference_steps=STEPS, guidance_scale=1.0,
            )
        )  # fmt: skip
        drawn.append(max(sizes))
    alone, together = found
    assert drawn == [1, 2]
    assert together.budgets == alone.budgets
    assert together.figures[3]["psnr"] == pytest.approx(alone.figures[3]["psnr"], abs=0.05)


def test_a_pipeline_with_a_cache_is_refused_before_anything_runs(tmp_path):
    pipe = pipelines.flux()
    with zcache.enabled(pipe), pytest.raises(zcache.AlreadyEnabledError, match="disable"):
        zcache.tune(pipe, prompts(), folder=tmp_path, num_inference_steps=STEPS)
    assert list(tmp_path.iterdir()) == []


def test_a_run_at_other_steps_maps_the_profile_and_says_so():
    pipe = pipelines.flux()
    config = ZCacheConfig(
        full_steps=(0, 3, 7), weight="fitted", factors=[0.5] * 8,
        times=[1 - k / 8 for k in range(8)],
    )  # fmt: skip
    case = CASES[0]

    with zcache.enabled(pipe, config) as handle:
        case.run(pipe, 16)
        report = handle.report()

    assert report.num_steps == 16
    assert report.full_steps[0] == 0
    assert report.full_steps[-1] == 15
    assert len(report.full_steps) == 3
    assert "mapped" in report.fallbacks[0]


def test_an_image_to_image_run_takes_the_part_of_the_profile_that_it_passes():
    case = next(case for case in pipelines.CASES if case.name == "flux-img2img")
    pipe = case.build()
    config = ZCacheConfig(full_steps=(0, 3, 6, 11), times=[1 - k / 12 for k in range(12)])

    with zcache.enabled(pipe, config) as handle:
        case.run(pipe)
        report = handle.report()

    assert report.finished
    assert report.full_steps[-1] == report.num_steps - 1 < 11


def test_fitted_weights_are_those_of_the_reflection():
    case = CASES[0]
    logarithmic = ZCacheConfig(full_steps=(0, 4, 11), base="taylorseer", weight="logarithmic")
    walk = logarithmic.plan(12).walk
    factors = [1.0] * 12
    for p in walk:
        if p.weight is not None:
            factors[p.step] = p.weight
    outputs = []
    for config in (logarithmic, logarithmic.replace(weight="fitted", factors=factors)):
        pipe = case.build()
        with zcache.enabled(pipe, config):
            outputs.append(case.run(pipe))

    assert torch.equal(*outputs)


def test_a_profile_of_another_model_is_refused_at_the_door():
    pipe = pipelines.flux()
    profile = zcache.tune(pipe, prompts(), full=3, num_inference_steps=STEPS, effort=8)

    with pytest.raises(ProfileError, match=r"this pipeline has DiTTransformer2DModel; make one"):
        zcache.enable(pipelines.dit(), profile)


def test_a_speedup_or_a_quality_is_asked_for_in_place_of_a_number():
    pipe = pipelines.flux()
    asked = {"effort": 12, "num_inference_steps": STEPS}

    fast = zcache.tune(pipe, prompts(), speedup=1.5, **asked)
    good = zcache.tune(pipe, prompts(), psnr=1.0, **asked)

    assert fast.figures[fast.default]["flops_speedup"] >= 1.5 * 0.98
    assert good.default == 4  # the fewest that are looked at: any output is above 1 dB
    with pytest.raises(ConfigError, match="two full steps of 8 give"):
        zcache.tune(pipe, prompts(), speedup=100, **asked)


@pytest.mark.parametrize(("asked", "count"), [(5.0, 10), (4.9, 10), (5.2, 9), (6.0, 8), (24.9, 2)])
def test_the_full_steps_of_a_speedup_come_within_two_percent_of_it(asked, count):
    """50 steps of which a cached one costs 0.0002 of a full one: 10 full steps are 4.996 times fewer FLOPs."""

    def measure(config, _):
        full = len(config.full_steps)
        return {"flops_speedup": 50 / (full + 0.0002 * (50 - full))}

    times = [1 - step / 50 for step in range(50)]
    search = Search({"output": np.eye(50).tolist()}, times, False, 1, measure)

    assert search.count_for_speedup(asked) == count


def test_a_sampler_that_goes_back_to_the_noise_is_tuned_and_its_profile_mapped():
    """Its noise levels rise; elsewhere they fall."""
    pipe = pipelines.dit()
    pipe.scheduler = DDIMInverseScheduler.from_config(pipe.scheduler.config)
    call = {"num_inference_steps": STEPS, "guidance_scale": 1.0}

    profile = zcache.tune(pipe, [0, 1], full=4, effort=9, **call)

    times = profile.config().times
    assert list(times) == sorted(times) and times[0] < 0.1 < 0.9 < times[-1]
    with zcache.enabled(pipe, profile) as handle:
        pipe(class_labels=[1], **{**call, "num_inference_steps": 12})
        report = handle.report()
    assert report.finished and report.full_steps[0] == 0 and report.full_steps[-1] == 11
    assert "mapped" in report.fallbacks[0]


def test_the_cost_is_warned_of_where_nobody_is_told(caplog):
    zcache.tune(pipelines.flux(), prompts(), full=3, effort=9, num_inference_steps=STEPS)

    (warned,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned.getMessage().startswith("tuning takes up to 9 uncached runs' time")
