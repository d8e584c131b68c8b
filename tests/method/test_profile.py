import json
from dataclasses import replace

import numpy as np
import pytest

from zcache import ConfigError, Profile, ProfileError, ZCacheConfig
from zcache.method.mapping import mapped

TIMES = tuple(1 - k / 10 for k in range(10))
FITTED = ZCacheConfig(
    full_steps=(0, 3, 9), weight="fitted", factors=[1, 0.2, 0.6, 1, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    times=TIMES, relax=None,
)  # fmt: skip
PROFILE = Profile(
    model="FluxTransformer2DModel",
    scheduler="FlowMatchEulerDiscreteScheduler",
    prediction="flow_prediction",
    default=3,
    budgets={3: FITTED, 4: ZCacheConfig(full_steps=(0, 3, 6, 9), times=TIMES)},
    figures={
        3: {"flops_speedup": 3.2, "psnr": 30.0},
        4: {"flops_speedup": 2.4, "psnr": 36.0},
    },
    call={"num_inference_steps": 10},
)


def test_a_profile_survives_its_file(tmp_path):
    assert Profile.load(PROFILE.save(tmp_path / "new" / "my.json")) == PROFILE


def test_a_budget_is_chosen_by_full_steps_speedup_or_quality():
    assert PROFILE.config() == PROFILE.config(3) == FITTED
    assert PROFILE.config(speedup=2.0) == PROFILE.config(4)  # both are fast enough: the better
    assert PROFILE.config(speedup=3.0) == FITTED
    assert PROFILE.config(psnr=29) == FITTED  # both are good enough: the faster
    assert PROFILE.config(psnr=35) == PROFILE.config(4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"full": 5}, "nothing for full 5; it has 3, 4 full steps"),
        ({"speedup": 9}, "nothing for speedup 9"),
        ({"psnr": 90}, "nothing for psnr 90"),
        ({"full": 3, "psnr": 9}, "give one of"),
        ({"full": "3"}, "full is '3'; give a whole number"),
        ({"full": [3]}, r"full is \[3\]; give a whole number"),
        ({"full": True}, "full is True; give a whole number"),
        ({"speedup": "2"}, "speedup is '2'; give a number"),
        ({"psnr": [9]}, r"psnr is \[9\]; give a number"),
        ({"psnr": float("nan")}, "psnr is nan; give a number"),
    ],
)
def test_a_budget_that_is_not_there_is_refused(asked, message):
    with pytest.raises(ConfigError, match=message):
        PROFILE.config(**asked)


def test_a_budget_without_figures_is_chosen_by_its_full_steps_alone():
    for figures in ({}, {3: {}}, {3: {"flops_speedup": None, "psnr": None}}):
        profile = replace(PROFILE, figures=figures)
        assert profile.config(3) == FITTED
        for asked in ({"speedup": 0}, {"psnr": 0}):
            with pytest.raises(ConfigError, match=f"nothing for {next(iter(asked))} 0; it has 3"):
                profile.config(**asked)


def test_numbers_of_numpy_choose_alike():
    assert PROFILE.config(np.int64(4)) == PROFILE.config(psnr=np.float32(35)) == PROFILE.config(4)


def test_another_model_or_sampler_is_refused_with_the_cure():
    PROFILE.check("FluxTransformer2DModel", "flow_prediction")
    with pytest.raises(ProfileError, match=r"this pipeline has DiT.*; make one for it"):
        PROFILE.check("DiT", "flow_prediction")
    with pytest.raises(ProfileError, match=r"prediction type flow_prediction.* has epsilon"):
        PROFILE.check("FluxTransformer2DModel", "epsilon")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no profile of version 1"),
        ('{"version": 2}', "its version: 2"),
        ('{"version": 1}', "damaged"),
        (json.dumps({**PROFILE.to_dict(), "default": 9}), "default of 9"),
        (json.dumps({**PROFILE.to_dict(), "more": 9}), "damaged"),
        (json.dumps({**PROFILE.to_dict(), "default": [4]}), r"damaged \(default is \[4\]\)"),
        (json.dumps({**PROFILE.to_dict(), "default": "3"}), "damaged .default is '3'"),
        (json.dumps({**PROFILE.to_dict(), "model": None}), "damaged .model is None"),
        (json.dumps({**PROFILE.to_dict(), "call": None}), "damaged .call is None"),
        (
            json.dumps({**PROFILE.to_dict(), "figures": {"4": None}}),
            "figures of 4 full steps are N",
        ),
        (json.dumps({**PROFILE.to_dict(), "figures": {"4": 5}}), "figures of 4 full steps are 5"),
        (json.dumps({**PROFILE.to_dict(), "figures": {"4": {}}}), "figures of 4 full steps are {}"),
        (
            json.dumps({**PROFILE.to_dict(), "figures": {"4": {"psnr": 9}}}),
            "lack a number for flops",
        ),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message):
        Profile.load(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(ProfileError, match="None cannot be read as a profile"):
        Profile.load(None)


def test_the_same_noise_levels_change_nothing():
    assert mapped(FITTED, TIMES) == (FITTED, "")
    assert mapped(FITTED, [t + 1e-5 for t in TIMES]) == (FITTED, "")


def test_other_noise_levels_take_full_steps_and_weights_along():
    twice = [1 - k / 20 for k in range(20)]

    config, note = mapped(FITTED, twice)

    # t = 0.7 is step 6 of these; the last step is full because it was.
    assert config.full_steps == (0, 6, 19)
    assert "3 full steps were mapped to 3 of 20" in note
    assert config.times == tuple(twice)
    # Step 2 of 0..6 stands where step 1 of 0..3 stood, step 4 where step 2.
    assert config.factors[2] == pytest.approx(0.2)
    assert config.factors[3] == pytest.approx(0.4)
    assert config.factors[4] == pytest.approx(0.6)
    assert config.plan(20).full_steps == (0, 6, 19)


def test_full_steps_that_meet_become_one():
    config, _ = mapped(FITTED.replace(full_steps=(0, 1, 9)), [1.0, 0.5, 0.1])

    assert config.full_steps == (0, 2)
    assert len(config.factors) == 3


def test_fitted_weights_stand_in_the_plan():
    weights = {p.step: p.weight for p in FITTED.plan(10).walk if p.weight is not None}

    assert weights == {1: 0.2, 2: 0.6, 3: 1.0, 4: 0.5, 5: 0.6, 6: 0.7, 7: 0.8, 8: 0.9, 9: 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": "fitted"}, "factors are not given"),
        ({"factors": [1.0], "full_steps": [0]}, "'fitted', and only with it"),
        ({"weight": "fitted", "factors": [1.0]}, "full_steps is None"),
        ({"times": [1.0]}, "full_steps is None"),
        ({"weight": "fitted", "factors": [float("nan")], "full_steps": [0]}, "finite"),
        ({"weight": "fitted", "factors": 3, "full_steps": [0]}, "finite"),
        (
            {"weight": "fitted", "factors": [1.0], "full_steps": [0], "times": [1.0, 0.5]},
            "1 factors and 2 times",
        ),
    ],
)
def test_factors_without_their_steps_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZCacheConfig(**settings)


def test_factors_for_other_steps_are_refused():
    with pytest.raises(ConfigError, match="10 factors for 12 steps"):
        FITTED.replace(times=None).plan(12)
