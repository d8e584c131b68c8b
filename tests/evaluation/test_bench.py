"""Quality and wall-clock harness: counts and laws, never a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusers import FluxPipeline

from zcache import ConfigError, UnsupportedPipelineError, ZCacheConfig
from zcache.evaluation import bench, quality
from zcache.evaluation.figures import speed_quality
from zcache.evaluation.method import Method
from zcache.evaluation.quality import Outcome
from zcache.evaluation.rivals import libraries, lineup
from zcache.measure import metrics

from ..pipelines import STEPS, dit, flux, flux_arguments, seeded


def call() -> dict:
    arguments = flux_arguments(STEPS, output_type="np")
    del arguments["generator"]
    return arguments


def draw(pipe: FluxPipeline) -> None:
    arguments = call()
    pipe(**arguments, generator=seeded())


@pytest.fixture(scope="module")
def result() -> dict:
    methods = [
        Method.zcache("exact", ZCacheConfig(interval=1)),
        *lineup.ours(4),
        *lineup.fewer_steps(4, STEPS),
        Method("diffusers", lambda pipe: libraries.diffusers_taylorseer(pipe, 4)),
        Method("diffusers lite", lambda pipe: libraries.diffusers_taylorseer(pipe, 4, lite=True)),
        *(m for m in lineup.adaptive(STEPS, draw) if m.name.startswith("diffusers")),
        Method("broken", lambda pipe: 1 / 0),
    ]
    return bench.bench(flux(), call(), methods, repeats=2)


def row(result: dict, name: str) -> dict:
    return next(row for row in result["methods"] if row["name"] == name)


def test_every_method_gives_the_pipeline_back_bit_for_bit(result: dict) -> None:
    assert all(row["restores_bit_exactly"] for row in result["methods"])


def test_interval_one_costs_and_draws_what_plain_does(result: dict) -> None:
    exact = row(result, "exact")
    assert exact["flops_speedup"] == 1.0
    assert exact["psnr_mean"] == metrics.MOST


def test_flops_speedups_follow_the_full_passes(result: dict) -> None:
    """Four full steps of twelve: three times fewer, less what the cached passes take."""
    assert row(result, "Z-Cache output N=4")["flops_speedup"] == 3.0
    assert 2.5 < row(result, "Z-Cache stack N=4")["flops_speedup"] < 3.0
    assert row(result, "fewer steps N=4")["flops_speedup"] == 3.0


def test_reflection_takes_no_full_pass_more(result: dict) -> None:
    with_it = row(result, "Z-Cache stack N=4")
    without = row(result, "TaylorSeer (ours, no reflection) stack N=4")
    assert with_it["full_passes"] == without["full_passes"] == 4
    assert "reflect" in with_it["milliseconds_per_pass"]
    assert "reflect" not in without["milliseconds_per_pass"]


def test_a_method_that_fails_has_an_error_and_harms_nobody(result: dict) -> None:
    assert row(result, "broken")["error"] == "ZeroDivisionError: division by zero"
    assert "error" not in row(result, "diffusers lite")


def test_adaptive_peers_of_diffusers_run_and_bolder_ones_compute_no_more(result: dict) -> None:
    for family in ("diffusers FirstBlockCache", "diffusers MagCache"):
        rows = [entry for entry in result["methods"] if entry["name"].startswith(family)]
        speedups = [entry["flops_speedup"] for entry in rows]
        assert len(rows) >= 3 and speedups == sorted(speedups) and speedups[0] >= 1.0


def test_a_result_is_json_and_a_table(result: dict) -> None:
    assert json.loads(json.dumps(result)) == result
    assert bench.table(result).count("\n") == len(result["methods"]) + 1


def test_the_plot_has_a_curve_for_every_family_with_quality(result: dict) -> None:
    axes = speed_quality.plot(result).axes[0]
    families = {row["family"] for row in result["methods"] if "psnr_mean" in row}
    assert {line.get_label() for line in axes.lines} == families
    assert {"Z-Cache stack", "diffusers MagCache", "fewer steps"} <= families


def test_efficiency_is_the_clocks_speedup_over_that_of_the_flops(result: dict) -> None:
    for entry in result["methods"]:
        if "error" not in entry:
            assert entry["efficiency"] == pytest.approx(entry["speedup"] / entry["flops_speedup"])


def test_a_peer_that_cannot_run_says_so() -> None:
    pipe = dit()
    with (
        pytest.raises(UnsupportedPipelineError, match="DiTTransformer2DModel"),
        libraries.diffusers_taylorseer(pipe, 4),
    ):
        pass


def test_latents_are_timed_and_not_judged() -> None:
    latents = {**call(), "output_type": "latent"}
    result = bench.bench(flux(), latents, lineup.ours(4, modules=False), repeats=1)
    assert all("psnr_mean" not in row and row["seconds"] > 0 for row in result["methods"])


def test_no_repeats_are_refused_before_the_first_run() -> None:
    with pytest.raises(ConfigError, match="repeats is 0; give a whole number from 1 up"):
        bench.bench(None, call(), [], repeats=0)


def test_the_scheduler_comes_back() -> None:
    pipe = flux(FluxPipeline)
    own = pipe.scheduler
    with pytest.raises(KeyError), lineup.scheduler_of(pipe, lineup.unipc_flow(pipe)):
        raise KeyError
    assert pipe.scheduler is own


def test_score_of_the_same_pictures_is_perfect() -> None:
    outcome = Outcome(np.random.default_rng(0).random((3, 16, 16, 3)), 10, None)
    score = quality.score(outcome, outcome)
    assert (
        score["psnr_mean"] == metrics.MOST
        and score["ssim_mean"] == 1.0
        and score["flops_speedup"] == 1.0
    )


def test_interval_of_a_mean() -> None:
    """Standard deviation 1 over four values: 1.96 / sqrt(4)."""
    values = [0.0, 0.0, 3**0.5, 3**0.5]
    assert quality.interval95(values) == pytest.approx(1.96 / 2)


def test_measure_skips_what_is_done() -> None:
    pipe = flux()
    batch = call()
    del batch["output_type"]
    methods = [Method("a"), Method.zcache("b", ZCacheConfig(interval=4))]
    calls = [{**batch, "seeds": [0]}]
    assert [name for name, _ in quality.measure(pipe, calls, methods, {"a": {}})] == ["b"]
