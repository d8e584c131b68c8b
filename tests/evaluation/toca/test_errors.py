"""ToCa and DuCa. What is refused, and with what words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zcache import AlreadyEnabledError, ConfigError, UnsupportedPipelineError, ZCacheConfig, enabled
from zcache.caching import intercept
from zcache.evaluation import methods
from zcache.evaluation.rivals.toca.on_pipeline import duca, toca

from ...pipelines import dit, flux, hunyuan, hunyuan15
from .families import (
    DIT,
    FLUX,
    WAYS,
)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"interval": 0}, "interval is 0; give a whole number from 1 up"),
        ({"interval": 2.5}, "interval is 2.5"),
        ({"interval": 3, "ratio": 1.5}, "ratio is 1.5; give the share of tokens to cache"),
        ({"interval": 3, "ratio": float("nan")}, "ratio is nan"),
        ({"interval": 3, "ratio": "high"}, "ratio is 'high'"),
        ({"interval": 3, "warmup": 0}, "warmup is 0"),
        ({"interval": 3, "coded": 1}, "coded is 1; give True or False"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_bad_setting_is_named(way: Callable[..., Any], settings: Any, said: str) -> None:
    pipe = dit()
    with pytest.raises(ConfigError, match=said), way(pipe, **settings):
        pass
    assert not intercept.is_armed(pipe.scheduler, "step")


def test_an_interval_above_the_steps_is_refused_before_the_denoiser_is_called() -> None:
    pipe = flux()
    with toca(pipe, 13), pytest.raises(ConfigError, match="interval 13 is above the 12"):
        FLUX.run(pipe)


def test_an_unknown_transformer_and_a_second_cache_are_refused() -> None:
    with pytest.raises(UnsupportedPipelineError, match="no rules for HunyuanVideo15"):
        toca(hunyuan15(1.0), 3).__enter__()
    pipe = hunyuan()
    for first, second in ((toca, enabled), (enabled, duca), (toca, duca)):
        settings = {enabled: ZCacheConfig(3)}
        with first(pipe, settings.get(first, 3)), pytest.raises(AlreadyEnabledError):
            second(pipe, settings.get(second, 3)).__enter__()


def test_fused_projections_and_another_scheduler_are_refused() -> None:
    pipe = flux()
    pipe.transformer.fuse_qkv_projections()
    with toca(pipe, 3), pytest.raises(UnsupportedPipelineError, match="unfuse_qkv_projections"):
        FLUX.run(pipe)
    pipe = flux()
    with toca(pipe, 3), pytest.raises(UnsupportedPipelineError, match="scheduler was replaced"):
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        FLUX.run(pipe)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("toca:six", "where a whole number stands"),
        ("toca:6,order=1", "setting 'order=1' is unknown; write name=value with one of: coded"),
        ("duca:6,ratio=2", "ratio is 2"),
        ("toca:51", "interval 51 is above the 50"),
        ("duca", "lacks its number"),
    ],
)
def test_a_bad_name_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        methods.parse(name, 50)


def test_names_carry_their_settings() -> None:
    pipe = dit()
    with methods.parse("duca:3,ratio=0.5,coded=yes", 12).apply(pipe) as cache:
        DIT.run(pipe)
    with duca(pipe, 3, ratio=0.5, coded=True) as same:
        DIT.run(pipe)
    assert cache.steps == same.steps and cache._settings == same._settings
