"""Fitted forecasts in real pipelines."""

import pytest
import torch

import zcache
from zcache import ZCacheConfig

from ..method.test_fitted_forecasts import taylor_rows
from ..pipelines import BY_NAME, STEPS

FULL = (0, 3, 4, 8, 11)


@pytest.mark.parametrize("name", ["flux", "flux-true-cfg", "dit", "hunyuan"])
@pytest.mark.parametrize("granularity", ["stack", "output"])
def test_a_table_of_taylorseers_factors_draws_what_taylorseer_draws(name, granularity):
    case = BY_NAME[name]
    own = {"full_steps": FULL, "granularity": granularity, "relax": None}
    table = taylor_rows(FULL, STEPS)
    drawn, reports = [], []
    for base in (
        {"base": "taylorseer", "weight": "future"},
        {"base": "fitted", "forecasts": table},
    ):
        pipe = case.build()
        with zcache.enabled(pipe, ZCacheConfig(**own, **base)) as handle:
            drawn.append(case.run(pipe))
        reports.append(handle.report())

    assert torch.equal(*drawn)
    assert [report.walk for report in reports] == [reports[0].walk] * 2
    assert [report.base for report in reports] == ["taylorseer", "fitted"]
    assert reports[1].fallbacks == reports[0].fallbacks


@pytest.mark.parametrize("name", ["flux", "flux-true-cfg", "dit"])
def test_a_run_at_other_steps_is_drawn_with_the_defaults_and_says_so(name):
    """Two runs, the first at other steps and the second at its own: the table is there again."""
    case = BY_NAME[name]
    pipe = case.build()
    case.run(pipe)
    times = zcache.caching.times.flow_times(pipe.scheduler)
    config = ZCacheConfig(
        full_steps=FULL, base="fitted", forecasts=taylor_rows(FULL, STEPS), times=times, granularity="output"
    )  # fmt: skip
    with zcache.enabled(pipe, config) as handle:
        other = case.run(pipe, 2 * STEPS)
        mapped = handle.report()
        own = case.run(pipe)
        report = handle.report()

    assert "the defaults took their place" in mapped.fallbacks[0]
    assert mapped.base != "fitted"
    assert report.base == "fitted"
    assert not report.fallbacks
    there = ZCacheConfig(full_steps=mapped.full_steps, granularity="output")
    with zcache.enabled(pipe, there) as handle:
        assert torch.equal(case.run(pipe, 2 * STEPS), other)
    with zcache.enabled(pipe, config.replace(times=None)):
        assert torch.equal(case.run(pipe), own)


def test_where_another_prompt_begins_the_newest_anchor_is_used_again():
    """The anchors of a run that begins anew are not those that were fitted."""
    case = BY_NAME["flux"]
    pipe = case.build()
    table = taylor_rows(FULL, STEPS)

    def change(pipe, step, timestep, tensors):
        return {"prompt_embeds": tensors["prompt_embeds"] + (step == 3)}

    with zcache.enabled(
        pipe, ZCacheConfig(full_steps=FULL, base="fitted", forecasts=table)
    ) as handle:
        drawn = case.run(
            pipe, callback_on_step_end=change, callback_on_step_end_tensor_inputs=["prompt_embeds"]
        )  # fmt: skip
    assert torch.isfinite(drawn).all()
    assert handle.report().finished


@pytest.mark.parametrize(
    ("name", "fitted_at", "other"),
    [
        ("flux", 3.5, {"guidance_scale": 1.5}),
        ("flux-true-cfg", 3.0 * 3.5, {"true_cfg_scale": 5.0}),
        ("flux-true-cfg", 3.0 * 3.5, {"guidance_scale": 1.5}),
        ("dit", 4.0, {"guidance_scale": 1.5}),
    ],
)
@pytest.mark.parametrize("reflect", [True, False])
def test_at_another_guidance_the_defaults_take_their_place_and_the_report_says_so(
    name, fitted_at, other, reflect
):
    """Fitted to mini-flux at 3.5, forecasts are 6 dB farther than the defaults at 1.5 (examples/study)."""
    case = BY_NAME[name]
    pipe = case.build()
    config = ZCacheConfig(
        full_steps=FULL, base="fitted", forecasts=taylor_rows(FULL, STEPS), granularity="output",
        reflect=reflect, guidance=fitted_at,
    )  # fmt: skip
    with zcache.enabled(pipe, config) as handle:
        own = case.run(pipe)
        at_home = handle.report()
        away = case.run(pipe, **other)
        report = handle.report()

    assert at_home.guidance == pytest.approx(fitted_at, rel=1e-3)
    assert (at_home.base, at_home.fallbacks) == ("fitted", ())
    assert report.base != "fitted"
    assert f"a guidance of {fitted_at:.3g}, and this run's is" in report.fallbacks[0]
    defaults = ZCacheConfig(full_steps=FULL, granularity="output", reflect=reflect)
    with zcache.enabled(pipe, defaults):
        assert torch.equal(case.run(pipe, **other), away)
    with zcache.enabled(pipe, config.replace(guidance=None)):
        assert torch.equal(case.run(pipe), own)
