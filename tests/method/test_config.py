import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zcache import ConfigError, Profile, ZCacheConfig, recommended

BAD = {
    "interval": ([0, -1, 2.5, True, "5", None, float("nan")], "interval"),
    "order": ([-1, 7, 1.0], "order"),
    "warmup": ([0, 1.5], "warmup"),
    "base": (["taylor", None, 3], "base"),
    "weight": (["log", None], "weight"),
    "placement": (["start", None], "placement"),
    "granularity": (["block", None], "granularity"),
    "relax": (["sigmas", -0.1, 1.1, float("nan"), True, [1]], "relax"),
    "reflect": ([1, None, "yes"], "reflect"),
    "full_steps": ([[], [1, 2], [0, 2, 2], [0, 3, 1], [0, 1.5], 7], "full"),
    "threshold": ([0, -1.0, float("inf"), "0.3"], "threshold"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, (values, _) in BAD.items() for v in values]
)
def test_a_bad_value_is_named_with_limit_and_cure(name: str, value: object) -> None:
    base = {"base": "teacache"} if name == "threshold" else {}
    with pytest.raises(ConfigError, match=BAD[name][1]) as caught:
        ZCacheConfig(**{**base, name: value})
    assert "give" in str(caught.value) or "choose" in str(caught.value)
    values = value if isinstance(value, list) else [value]
    assert any(
        repr(v) in str(caught.value) or str(v) in str(caught.value) for v in [value, *values]
    )


@pytest.mark.parametrize(
    "settings",
    [{"interval": 1}, {"order": 0}, {"order": 6}, {"warmup": 1}, {"relax": 0}, {"relax": 1.0},
     {"base": "teacache", "threshold": 1e-9}, {"full_steps": [0]}],
    ids=str,
)  # fmt: skip
def test_a_limit_itself_is_allowed(settings: dict) -> None:
    assert ZCacheConfig(**settings).plan(9).num_steps == 9


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="taylorseer, fora, damped, teacache"):
        ZCacheConfig(base="taylor")


def test_a_threshold_belongs_to_teacache() -> None:
    with pytest.raises(ConfigError, match="base 'teacache'"):
        ZCacheConfig(threshold=0.3)


def test_a_config_cannot_be_changed_but_replaced() -> None:
    config = ZCacheConfig()
    with pytest.raises(AttributeError):
        config.interval = 3
    assert config.replace(interval=3).interval == 3
    with pytest.raises(ConfigError):
        config.replace(interval=0)


@pytest.mark.parametrize(
    "config",
    [
        ZCacheConfig(),
        ZCacheConfig.paper(7),
        ZCacheConfig(full_steps=[0, 4, 9], relax=0.5, granularity="module", order=2),
        ZCacheConfig(base="teacache", threshold=0.2, reflect=False),
    ],
)
def test_a_config_survives_json(config: ZCacheConfig) -> None:
    assert ZCacheConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_settings_are_loaded_from_their_own_file_and_from_a_profile(tmp_path: Path) -> None:
    path, config = tmp_path / "one.json", ZCacheConfig(interval=7, order=2)
    path.write_text(json.dumps(config.to_dict()))
    assert ZCacheConfig.load(path) == config
    budgets = {4: ZCacheConfig(full_steps=[0, 3, 6, 9]), 2: ZCacheConfig(full_steps=[0, 9])}
    profile = Profile("A", "B", "epsilon", 4, budgets)
    assert ZCacheConfig.load(profile.save(path)) == budgets[4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"interval": 0}',
        '{"budgets": {}}',
        "\x00",
        "[" * 100_000,
        '"x"',
        "null",
        '{"budgets": {"4": null}, "default": 4}',
    ],
)
def test_a_file_without_settings_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"one\.json cannot be read|interval is 0"):
        ZCacheConfig.load(path)
    with pytest.raises(ConfigError, match="No such file"):
        ZCacheConfig.load(tmp_path / "none.json")


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match="'intervall'"):
        ZCacheConfig.from_dict({"intervall": 3})
    with pytest.raises(ConfigError, match="unknown setting 1; known are: base, factors"):
        ZCacheConfig.from_dict({1: 2, "a": 3})


@pytest.mark.parametrize("settings", [None, [1], 5, "interval"])
def test_settings_are_a_dict(settings: Any) -> None:
    with pytest.raises(ConfigError, match=r"settings are .*; give a dict of them"):
        ZCacheConfig.from_dict(settings)


def test_an_unknown_name_is_named_wherever_settings_are_given() -> None:
    for give in (
        ZCacheConfig().replace,
        partial(ZCacheConfig.paper, 5),
        partial(recommended, None),
    ):
        with pytest.raises(
            ConfigError, match="unknown setting 'granulariti'; known are: base, fac"
        ):
            give(granulariti="stack")


def test_a_callable_weight_cannot_be_written_down() -> None:
    with pytest.raises(ConfigError, match=r"register"):
        ZCacheConfig(weight=lambda j, n: 0.5).to_dict()


def test_the_papers_setting() -> None:
    config = ZCacheConfig.paper(8)
    assert config.plan(50).full_steps == (0, 1, 2, 10, 18, 26, 34, 42, 49)
    assert (config.relax, config.weight, config.order) == (None, "logarithmic", 1)


def test_a_plan_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="interval 9 is above the 8"):
        ZCacheConfig(interval=9).plan(8)
    with pytest.raises(ConfigError, match="full step 10 is beyond"):
        ZCacheConfig(full_steps=[0, 10]).plan(10)
    with pytest.raises(ConfigError, match="num_steps is 0"):
        ZCacheConfig().plan(0)


def test_explicit_full_steps_win() -> None:
    config = ZCacheConfig(interval=3, warmup=2, placement="warmup", full_steps=[0, 9])
    plan = config.plan(12)
    assert plan.full_steps == (0, 9)
    with pytest.raises(AttributeError):
        plan.full_steps = (0,)


def test_numbers_of_numpy_become_plain_ones() -> None:
    found = ZCacheConfig(
        interval=np.int64(4), relax=np.float32(0.5), reflect=np.True_,
        full_steps=np.linspace(0, 12, 4).astype(int), times=np.linspace(1, 0, 13),
    )  # fmt: skip
    wanted = ZCacheConfig(
        interval=4, relax=0.5, full_steps=(0, 4, 8, 12), times=np.linspace(1, 0, 13).tolist()
    )
    assert found == wanted and found.to_dict() == wanted.to_dict()
    assert type(found.interval) is int and {type(step) for step in found.full_steps or ()} == {int}
    with pytest.raises(ConfigError, match=r"interval is 2\.5"):
        ZCacheConfig(interval=np.float64(2.5))


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((1.0, 0.5), "2 times are given, and step 4 is a full one"),
        ((1.0, 0.9, 0.5, 0.2, 5.0), "from 0.2 to 5; give a flow's time at every step, from 0"),
        ((1.0, 0.9, 0.5, 0.2, -0.1), "from -0.1 to 1"),
    ],
)
def test_times_are_those_of_a_flow_at_every_step(times: tuple[float, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ZCacheConfig(full_steps=(0, 2, 4), times=times)


def test_times_rise_where_a_picture_is_inverted() -> None:
    rising = (0.1, 0.4, 0.7, 1.0)
    assert ZCacheConfig(full_steps=(0, 3), times=rising).times == rising


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (
            lambda j, n: math.nan,
            "weight is nan at step 1 of a window of 1; give a number from 0 to 1",
        ),
        (lambda j, n: j, "weight is 2 at step 2 of a window of 2"),
        (lambda j, n: None, "weight is None"),
        (lambda j: 1.0, "weight fails at step 1 of a window of 1"),
    ],
)
def test_a_weight_of_ones_own_is_tried_when_it_is_given(weight: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ZCacheConfig(weight=weight)


def test_a_weight_may_give_numbers_of_numpy() -> None:
    ZCacheConfig(weight=lambda j, n: np.float64(j / n))
