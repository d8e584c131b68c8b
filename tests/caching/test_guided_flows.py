"""A flow with guidance: which base it is reflected on, its weight, and how much of a correction it keeps."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import zcache
from zcache import ZCacheConfig
from zcache.caching import reflection
from zcache.method import guided as rules
from zcache.method.relaxation import share

from ..pipelines import BY_NAME, STEPS, flux
from .families import image

FLUX = BY_NAME["flux"]


@pytest.mark.parametrize(
    ("name", "guidance", "guided"),
    [("flux-true-cfg", {}, True), ("flux", {}, True), ("flux", {"guidance_scale": 1.0}, False)],
)
def test_a_guided_flow_that_is_extrapolated_keeps_less_of_long_and_early_windows(
    name: str, guidance: dict[str, float], guided: bool
) -> None:
    """Guidance added up (a scale of 3), told to the transformer (3.5), and none."""
    case = BY_NAME[name]
    pipe = case.build()
    for relax in ("time", "sigma"):
        config = ZCacheConfig(interval=4, base="taylorseer", relax=relax)
        with zcache.enabled(pipe, config) as handle:
            case.run(pipe, **guidance)
        sigmas, report = pipe.scheduler.sigmas.tolist(), handle.report()
        for start, stop in itertools.pairwise(report.full_steps):
            gamma = share(relax, sigmas[start], sigmas[stop], guided, first=start == 0)
            assert report.relaxation[stop] == pytest.approx(gamma)


@pytest.mark.parametrize(
    ("name", "base", "guidance", "guided"),
    [
        ("flux-true-cfg", "automatic", {}, True),
        ("flux", "automatic", {}, True),
        ("flux", "fora", {}, True),
        ("flux", "automatic", {"guidance_scale": 1.0}, False),
        ("flux", "fora", {"guidance_scale": 1.0}, False),
    ],
)
def test_a_guided_flow_keeps_less_of_windows_longer_than_a_fifth(
    name: str, base: str, guidance: dict[str, float], guided: bool
) -> None:
    case = BY_NAME[name]
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 1, 4, 11), base=base)) as handle:
        case.run(pipe, **guidance)
    sigmas, report = pipe.scheduler.sigmas.tolist(), handle.report()
    assert sigmas[4] - sigmas[11] > 0.2 > sigmas[0] - sigmas[1]
    for start, stop in itertools.pairwise(report.full_steps[1:]):
        kept = max(0.4, 2 * sigmas[stop] / (sigmas[start] + sigmas[stop]))
        length = sigmas[start] - sigmas[stop]
        kept *= (0.2 / length) ** 2 if guided and length > 0.2 else 1
        assert report.relaxation[stop] == pytest.approx(kept)


@pytest.mark.parametrize(
    ("name", "settings", "guidance", "base"),
    [
        ("flux-true-cfg", {}, {}, "fora"),
        ("flux", {}, {}, "damped"),
        ("flux", {"weight": "logarithmic"}, {}, "damped"),
        ("flux", {"order": 2}, {}, "damped"),
        ("flux", {"reflect": False}, {}, "taylorseer"),
        ("flux", {"weight": "fitted", "factors": [0.5] * STEPS}, {}, "taylorseer"),
        ("flux", {}, {"guidance_scale": 1.0}, "taylorseer"),
        ("dit", {"order": 2}, {}, "taylorseer"),  # at order 1 along the angle (test_abscissa)
    ],
)
@pytest.mark.parametrize("granularity", ["stack", "output"])
def test_the_base_that_is_chosen_is_of_the_guidance_of_a_flow_that_is_reflected(
    name: str, settings: dict[str, Any], guidance: dict[str, float], base: str, granularity: str
) -> None:
    """Bit for bit the picture of that base, and not of the others."""
    case, drawn = BY_NAME[name], {}
    for chosen in ("automatic", "taylorseer", "fora", "damped"):
        pipe = case.build()
        own = {"full_steps": (0, 4, 8, 11), "granularity": granularity, "base": chosen, **settings}
        with zcache.enabled(pipe, ZCacheConfig(**own)) as handle:
            drawn[chosen] = case.run(pipe, **guidance)
        assert handle.report().base == (base if chosen == "automatic" else chosen)
    assert torch.equal(drawn["automatic"], drawn[base])
    for other in {"taylorseer", "fora", "damped"} - {base}:
        assert not torch.equal(drawn["automatic"], drawn[other])


@pytest.mark.parametrize(
    ("full", "window", "told", "added"),
    [
        (12, 4, "damped", "damped"),  # four steps of 45: 0.089 of the time
        (11, 4, "damped", "fora"),  # of 41: 0.098
        (4, 4, "damped", "fora"),  # of 13: 0.308
        (3, 5, "fora", "fora"),  # five of 11: 0.455
    ],
)
def test_long_windows_of_a_guided_flow_reuse(full: int, window: int, told: str, added: str) -> None:
    """Told, as FLUX.1-dev is, longer ones are forecast along a damped slope than where outputs are added up,
    here with a scale of 3."""
    last = window * (full - 1)
    for name, base in (("flux", told), ("flux-true-cfg", added)):
        case = BY_NAME[name]
        pipe = case.build()
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        with zcache.enabled(pipe, ZCacheConfig(full_steps=range(0, last + 1, window))) as handle:
            case.run(pipe, last + 1)
        assert handle.report().base == base, name


@pytest.mark.parametrize(
    ("granularity", "first", "last"),
    [
        ("stack", 2, 5),
        ("output", 0, 1),
    ],  # calls: the first one is checked by another, a cached output is none
)
@pytest.mark.parametrize(("limit", "base"), [(1.001, "damped"), (0.999, "fora")])
def test_a_told_flow_reuses_where_its_output_turns_far_in_the_first_window(
    limit: float,
    base: str,
    granularity: str,
    first: int,
    last: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its first step that was cached to the newer anchor, as a part of its size, for its longest window."""
    config = ZCacheConfig(full_steps=(0, 4, 8, 11), granularity=granularity)
    pipe, made = flux(), []
    pipe.transformer.register_forward_hook(lambda module, given, output: made.append(output[0]))
    with zcache.enabled(pipe, config):
        FLUX.run(pipe)
    turned = float((made[last] - made[first]).norm() / made[first].norm())
    times = pipe.scheduler.sigmas.tolist()
    longest = max(times[start] - times[stop] for start, stop in ((0, 4), (4, 8), (8, 11)))
    monkeypatch.setattr(rules, "MOST_TURNED_TOLD", limit * turned * longest)
    with zcache.enabled(pipe, config) as handle:
        FLUX.run(pipe)
    assert turned > 0 and handle.report().base == base


@pytest.mark.parametrize(
    ("settings", "guidance", "reflected"),
    [
        ({"base": "taylorseer"}, {}, False),
        ({"base": "hicache", "order": 2}, {}, False),
        ({"base": "damped"}, {}, True),  # goes half of it
        ({"base": "fora"}, {}, True),
        ({"base": "taylorseer", "weight": "linear"}, {}, True),
        ({"base": "taylorseer", "relax": 0.5}, {}, True),
        ({"base": "taylorseer"}, {"guidance_scale": 1.0}, True),
    ],
)
def test_along_a_whole_slope_early_windows_of_a_told_flow_whose_outputs_turn_far_stay_as_forecast(
    settings: dict[str, Any],
    guidance: dict[str, float],
    reflected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it was left open how a window is corrected; bit for bit what is forecast alone, and said."""
    monkeypatch.setattr(rules, "MOST_TURNED_TOLD", 0.0)
    monkeypatch.setattr(rules, "SETTLED", 1.0)  # none is late
    drawn = []
    for reflect in (True, False):
        pipe = flux()
        config = ZCacheConfig(full_steps=(0, 4, 8, 11), reflect=reflect, **settings)
        with zcache.enabled(pipe, config) as handle:
            drawn.append(FLUX.run(pipe, **guidance))
        if reflect:
            report = handle.report()
    said = any("base='automatic' reuses there" in reason for reason in report.fallbacks)
    assert (report.reflect_passes > 0, said) == (reflected, not reflected)
    assert torch.equal(*drawn) != reflected


def test_its_windows_from_where_the_picture_is_settled_are_reflected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Times of 12 steps at shift 1 fall by 0.083: windows begin at 1, 0.67 and 0.33, and 0.4 is settled."""
    monkeypatch.setattr(rules, "MOST_TURNED_TOLD", 0.0)
    pipe = flux()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    config = ZCacheConfig(full_steps=(0, 4, 8, 11), base="taylorseer")
    with zcache.enabled(pipe, config) as handle:
        FLUX.run(pipe)
    report = handle.report()
    assert [step for step, kind in enumerate(report.kinds) if kind == "reflected"] == [9, 10]
    assert list(report.relaxation) == [11]
    assert len(report.fallbacks) == 1 and "until the picture is settled" in report.fallbacks[0]


@pytest.mark.parametrize(("name", "limit"), [("flux", 9.0), ("flux-true-cfg", 0.0)])
def test_that_is_not_so_where_they_turn_a_little_or_are_added_up(
    name: str, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_TURNED_TOLD", limit)
    case = BY_NAME[name]
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(interval=4, base="taylorseer")) as handle:
        case.run(pipe)
    assert handle.report().reflect_passes > 0 and handle.report().fallbacks == ()


@pytest.mark.parametrize(("limit", "base"), [(0.0, "fora"), (9.0, "damped")])
def test_so_does_one_whose_outputs_are_added_up(
    limit: float, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_TURNED", limit)
    case = BY_NAME["flux-true-cfg"]
    pipe = case.build()
    with zcache.enabled(pipe, ZCacheConfig(full_steps=range(0, 63, 2))) as handle:
        case.run(pipe, 63)
    assert handle.report().base == base


@pytest.mark.parametrize(
    ("scale", "base"), [(1.6, "damped"), (2.2, "damped"), (2.4, "fora"), (7.0, "fora")]
)
def test_the_stronger_the_guidance_the_sooner_a_flow_reuses(scale: float, base: str) -> None:
    """Windows of four steps of 29 are 0.138 of the time: right up to a scale of 1 + 0.18 / 0.138 = 2.30."""
    case = BY_NAME["flux-true-cfg"]
    pipe = case.build()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    with zcache.enabled(pipe, ZCacheConfig(full_steps=range(0, 29, 4))) as handle:
        case.run(pipe, 29, true_cfg_scale=scale)
    assert handle.report().base == base


@pytest.mark.parametrize("relax", ["time", "sigma", 0.9])
@pytest.mark.parametrize(("scale", "most"), [(2.0, 1.0), (4.0, 0.7), (7.0, 0.25)])
def test_the_stronger_the_guidance_the_less_a_flow_keeps(
    scale: float, most: float, relax: str | float
) -> None:
    """Windows of two steps of 63 are 0.032 of the time: 0.2 / (g - 1)^2 of it are 6.3, 0.7 and 0.175 times that."""
    case = BY_NAME["flux-true-cfg"]
    pipe = case.build()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    config = ZCacheConfig(full_steps=range(0, 63, 2), relax=relax)
    with zcache.enabled(pipe, config) as handle:
        case.run(pipe, 63, true_cfg_scale=scale)
    sigmas, kept = pipe.scheduler.sigmas.tolist(), handle.report().relaxation
    assert handle.report().base == "damped"
    for stop in range(2, 63, 2):
        own = share(relax, sigmas[stop - 2], sigmas[stop])
        wanted = min(own, most) if relax == "time" else own
        assert kept[stop] == pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "guidance", "base"),
    [
        ("flux-true-cfg", {}, "fora"),
        ("flux", {}, "fora"),
        ("flux", {"guidance_scale": 1.0}, "taylorseer"),
    ],
)
@pytest.mark.parametrize("granularity", ["stack", "output"])
def test_a_guided_flow_whose_first_full_steps_are_neighbours_begins_with_reuse(
    name: str, guidance: dict[str, float], base: str, granularity: str
) -> None:
    """Their difference is no slope for a window five times as long, which the first reflection would only mend
    behind it: bit for bit the picture of reuse; without guidance that of TaylorSeer."""
    case, drawn = BY_NAME[name], {}
    for chosen in ("automatic", "fora", "taylorseer"):
        pipe = case.build()
        given = {"full_steps": (0, 1, 6, 11), "granularity": granularity, "base": chosen}
        with zcache.enabled(pipe, ZCacheConfig(**given)) as handle:
            drawn[chosen] = case.run(pipe, **guidance)
        assert chosen != "automatic" or handle.report().base == base
    assert torch.equal(drawn["automatic"], drawn[base])
    assert not torch.equal(drawn["fora"], drawn["taylorseer"])


def test_a_guided_flow_is_blended_linearly_and_no_other() -> None:
    """Where the weight is automatic: with a scale of 3, or one of 3.5 that the transformer is told, the picture is
    that of `linear`, without that of `future`."""
    for name, guidance, weight, other in (
        ("flux-true-cfg", {}, "linear", "future"),
        ("flux", {}, "linear", "future"),
        ("flux", {"guidance_scale": 1.0}, "future", "linear"),
        ("dit", {}, "future", "linear"),
    ):
        case = BY_NAME[name]
        drawn = {}
        for chosen in ("automatic", weight, other):
            pipe = case.build()
            config = ZCacheConfig(full_steps=(0, 4, 8, 11), base="taylorseer", weight=chosen)
            with zcache.enabled(pipe, config):
                drawn[chosen] = case.run(pipe, **guidance)
        assert torch.equal(drawn["automatic"], drawn[weight]), name
        assert not torch.equal(drawn["automatic"], drawn[other]), name


def test_a_run_chooses_for_itself() -> None:
    pipe, bases = flux(), []
    with zcache.enabled(pipe, ZCacheConfig(full_steps=(0, 4, 8, 11))) as handle:
        for scale in (3.5, 1.0, 3.5):
            FLUX.run(pipe, guidance_scale=scale)
            bases.append(handle.report().base)
    assert bases == ["damped", "taylorseer", "damped"]


@pytest.mark.parametrize("second", [1, 4])
def test_a_window_that_stays_leaves_the_base(second: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reuse is the better base of a reflection, and the worse alone; who begins with it forecasts one window so."""

    def refuse(*_: Any) -> None:
        raise reflection.CannotReflectError("tried")

    config = ZCacheConfig(full_steps=(0, second, 8, 11))
    alone = {}
    for base in ("taylorseer", "fora"):
        pipe = flux()
        with zcache.enabled(pipe, config.replace(base=base, reflect=False)):
            alone[base] = FLUX.run(pipe)
    monkeypatch.setattr(reflection, "check_steps_repeat", refuse)
    pipe = flux()
    with zcache.enabled(pipe, config) as handle:
        drawn = FLUX.run(pipe)
    assert handle.report().reflect_passes == 0
    assert handle.report().base == "taylorseer"
    assert torch.equal(drawn, alone["taylorseer"]) == (second == 4)
    assert not torch.equal(drawn, alone["fora"])


def test_guidance_that_is_normalised_is_guidance() -> None:
    """Qwen-Image gives the sum the length of the conditional output; without guidance nothing is damped."""
    for scale, guided in ((4.0, True), (1.0, False)):
        pipe = image.qwen()
        with zcache.enabled(pipe, ZCacheConfig(interval=4)) as handle:
            pipe(**image.qwen_arguments(true_cfg_scale=scale), num_inference_steps=STEPS)
        assert (handle.report().base in ("damped", "fora")) == guided
