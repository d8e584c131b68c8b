"""What is cached where the granularity is automatic."""

from __future__ import annotations

from typing import Any

import pytest

from zcache import ConfigError, ZCacheConfig
from zcache.method.granularity import settled
from zcache.method.relaxation import of_output


@pytest.mark.parametrize(
    ("diffusion", "guidance", "granularity"),
    [
        (True, 1.0, "output"),
        (True, 1.5, "output"),
        (True, 2.0, "stack"),
        (True, None, "stack"),
        (False, 1.0, "stack"),
    ],
)
def test_the_output_is_cached_of_a_diffusion_sampler_with_mild_guidance(
    diffusion: bool, guidance: float | None, granularity: str
) -> None:
    for reflect in (True, False):
        config = settled(ZCacheConfig(reflect=reflect), 50, diffusion, guidance)
        assert config.granularity == granularity
        assert (config.weight == "logarithmic") == (granularity == "output")
        assert (config.relax == "time") == (granularity == "stack")
        assert config.reflect is reflect


@pytest.mark.parametrize(
    "own",
    [
        {"order": 2},
        {"weight": "linear"},
        {"relax": None},
        {"base": "fora"},
        {"base": "teacache"},
    ],
    ids=str,
)
def test_a_setting_of_ones_own_keeps_the_stack(own: dict[str, Any]) -> None:
    assert settled(ZCacheConfig(**own), 50, True, 1.0) == ZCacheConfig(**own, granularity="stack")


@pytest.mark.parametrize("granularity", ["stack", "module"])
def test_a_granularity_that_is_said_stays(granularity: str) -> None:
    config = ZCacheConfig(granularity=granularity)
    assert settled(config, 50, True, 1.0) is config


@pytest.mark.parametrize("guidance", [1.0, 4.0, None])
def test_an_output_that_is_asked_for_is_corrected_as_one_that_is_chosen(
    guidance: float | None,
) -> None:
    """Whoever copies what the report says of a run with the defaults gets that run."""
    asked = ZCacheConfig(granularity="output")
    assert settled(asked, 50, True, guidance) == settled(ZCacheConfig(), 50, True, 1.0)
    assert settled(asked, 50, False, guidance) is asked  # a flow's
    for own in ({"order": 2}, {"weight": "linear"}, {"relax": None}, {"base": "fora"}):
        config = asked.replace(**own)
        assert settled(config, 50, True, guidance) is config


@pytest.mark.parametrize(
    ("steps", "interval", "kept"),
    [(50, 5, 0.7), (50, 10, 0.7 * (0.12 / 0.2) ** 2), (20, 5, 0.7 * (0.12 / 0.25) ** 2)],
)
def test_less_is_kept_of_longer_windows(steps: int, interval: int, kept: float) -> None:
    """0.7 of windows up to 0.12 of the steps, and by the square of how much longer they are: the longest counts."""
    full = tuple(range(0, steps, interval))
    config = settled(ZCacheConfig(full_steps=full), steps, True, 1.0)
    assert config.relax == pytest.approx(kept)


def test_a_correction_is_kept_the_less_the_longer_the_window() -> None:
    shares = [of_output(steps / 100) for steps in range(1, 101)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 0.7 and shares[-1] == pytest.approx(0.7 * 0.12**2)


def test_what_does_not_fit_the_steps_is_refused() -> None:
    with pytest.raises(ConfigError):
        settled(ZCacheConfig(full_steps=(0, 50)), 50, True, 1.0)
