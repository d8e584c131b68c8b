"""Fitted forecasts: a table of factors in the place of a base strategy's rule."""

import json

import pytest

from zcache import ConfigError, ZCacheConfig
from zcache.method import bases, weights
from zcache.method.forecasts import Forecasts, lengths
from zcache.method.mapping import mapped

FULL = (0, 2, 5)
TIMES = tuple(1 - k / 7 for k in range(7))
ROWS = (
    ((), ()), ((0.9,), (0.4, 0.6)), ((), ()), ((0.1, 0.9), (0.0, 0.7, 0.3)),
    ((-0.2, 1.2), (0.1, 0.3, 0.6)), ((), ()), ((0.2, -0.3, 1.1), ()),
)  # fmt: skip
CONFIG = ZCacheConfig(full_steps=FULL, base="fitted", forecasts=ROWS, relax=None)


def taylor_rows(full_steps, num_steps, order=1):
    """TaylorSeer's own factors, as a table."""
    rows = []
    for step in range(num_steps):
        known = [full for full in full_steps if full <= step]
        both = [known, full_steps[: len(known) + 1]]
        row = []
        for anchors, wanted in zip(both, lengths(full_steps, step), strict=True):
            own = bases.taylorseer(anchors, step, order)
            row.append((*(0.0,) * (wanted - len(own)), *own) if wanted else ())
        rows.append(tuple(row))
    return tuple(rows)


def test_a_step_takes_its_forecast_before_the_next_full_step_and_its_reflection_after():
    base = CONFIG.strategy
    assert base((0,), 1, 1) == (0.9,)
    assert base((0, 2), 1, 1) == (0.4, 0.6)
    assert base((0, 2), 4, 1) == (-0.2, 1.2)
    assert base((0, 2, 5), 4, 1) == (0.1, 0.3, 0.6)
    assert base([0, 2, 5], 6, 1) == (0.2, -0.3, 1.1)


@pytest.mark.parametrize(
    ("anchors", "step"),
    [((0, 3), 4), ((2, 5), 6), ((0, 2), 2), ((0, 2, 5), 7), ((0, 2, 5), 1), ((5,), 6)],
)
def test_where_the_anchors_are_others_the_newest_is_used_again(anchors, step):
    """After another prompt a run begins anew, and its anchors are not the ones that were fitted."""
    factors = CONFIG.strategy(anchors, step, 1)
    assert factors == (*(0.0,) * (len(anchors) - 1), 1.0)


def test_all_anchors_are_kept_and_no_window_is_taken_for_a_slope():
    base = CONFIG.strategy
    assert bases.reach(base, 1) == 3
    assert not bases.interpolates(base, 1)
    assert not bases.is_careful(base, 1)
    assert CONFIG.weight_function is CONFIG.weight_in(True) is weights.future
    assert CONFIG.guided_base(FULL, 7) is None


def test_a_row_has_a_factor_for_every_anchor():
    assert [lengths(FULL, step) for step in range(7)] == [tuple(map(len, row)) for row in ROWS]


def test_settings_with_forecasts_are_written_down_and_read_again(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    assert ZCacheConfig.load(path) == CONFIG
    assert hash(ZCacheConfig.load(path)) == hash(CONFIG)
    assert CONFIG.replace(reflect=False).forecasts == ROWS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forecasts": None}, "base is 'fitted' and forecasts are not given"),
        ({"base": "fora"}, "give forecasts with base='fitted', and only with it"),
        ({"full_steps": (0, 3, 5)}, r"forecasts of step 2 are 0 and 0 factors, and these full steps need 1 and 2"),
        ({"full_steps": None}, "forecasts belong to explicit steps, and full_steps is None"),
        ({"forecasts": ROWS[:-1], "times": TIMES}, "6 forecasts and 7 times"),
        ({"forecasts": (*ROWS[:-1], ((0.2, float("nan"), 1), ()))}, "two lists of finite numbers"),
        ({"guidance": "much"}, "give the scale that forecasts were fitted at"),
        ({"base": "fora", "forecasts": None, "guidance": 3.5}, "fitted at, with them, or None"),
        ({"forecasts": 3}, "two lists of finite numbers"),
        ({"forecasts": [[1]]}, "two lists of finite numbers"),
        ({"forecasts": ["ab"]}, "two lists of finite numbers"),
    ],
)  # fmt: skip
def test_forecasts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CONFIG.replace(**changes)


def test_other_steps_than_were_fitted_are_refused_without_times():
    with pytest.raises(ConfigError, match="7 forecasts for 9 steps"):
        CONFIG.plan(9)


def test_at_other_noise_levels_the_defaults_take_their_place():
    known = CONFIG.replace(times=TIMES)
    assert mapped(known, [t + 1e-5 for t in TIMES]) == (known, "")

    config, note = mapped(known, [1 - k / 14 for k in range(14)])

    assert config == ZCacheConfig(full_steps=(0, 4, 10), times=[1 - k / 14 for k in range(14)])
    assert "the defaults took their place" in note
    both = known.replace(weight="fitted", factors=[0.5] * 7)
    assert mapped(both, config.times) == (config, note)


def test_a_table_of_taylorseers_factors_is_taylorseer():
    table = Forecasts(FULL, taylor_rows(FULL, 7))
    for step in range(7):
        for anchors in (FULL[:1], FULL[:2], FULL):
            if len(table.rows[step][step < anchors[-1]]) == len(anchors):
                own = bases.taylorseer(anchors, step, 1)
                assert table(anchors, step, 1)[-len(own) :] == own
