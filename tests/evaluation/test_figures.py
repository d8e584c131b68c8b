"""Figures: what they show is what was computed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from zcache import ConfigError, ZCacheConfig
from zcache.commands import main
from zcache.evaluation.figures import (
    canvas,
    fig2_layers,
    fig4_trajectories,
    fig9_weights,
    fig678_pictures,
    walk,
)
from zcache.measure.compare import generate
from zcache.measure.recording import Recording, Visit, record

CONFIG = ZCacheConfig(interval=4)


def recording(*values: float) -> Recording:
    """A run with one layer whose features at each step are this value everywhere."""
    visits = [
        Visit(step, "full", {"blocks.0": torch.full((1, 2, 3), value)})
        for step, value in enumerate(values)
    ]
    return Recording(visits)


def test_layer_errors_are_relative_to_the_uncached_features():
    errors = fig2_layers.layer_errors(recording(1.0, -2.0, 4.0), recording(1.0, -1.0, 5.0))
    assert errors.tolist() == [[0.0, 0.5, 0.25]]


def test_layer_errors_look_at_the_last_visit_of_a_step():
    gone_back = recording(1.0, 9.0)
    gone_back.visits.append(Visit(1, "reflect", {"blocks.0": torch.full((1, 2, 3), 2.0)}))
    assert fig2_layers.layer_errors(recording(1.0, 2.0), gone_back).tolist() == [[0.0, 0.0]]


def test_fig2_shows_both_maps_and_their_means(tiny_pipe, tiny_call):
    axes = fig2_layers.fig2(tiny_pipe, tiny_call, CONFIG).axes

    plain = record(tiny_pipe, tiny_call)
    ours = record(tiny_pipe, tiny_call, CONFIG.replace(granularity="module"))
    errors = fig2_layers.layer_errors(plain, ours)
    assert errors.shape == (len(plain.layers()), 10) and errors[:, 0].max() == 0.0
    assert np.allclose(axes[1].images[0].get_array(), np.maximum(errors, fig2_layers.FLOOR))
    lines = {line.get_label(): line.get_ydata() for line in axes[2].lines}
    assert np.allclose(lines["Z-Cache"], errors.mean(axis=0))


def test_runs_without_layers_are_refused_by_name(tiny_pipe, tiny_call):
    plain, stack = record(tiny_pipe, tiny_call), record(tiny_pipe, tiny_call, CONFIG)
    with pytest.raises(ConfigError, match="granularity 'module'"):
        fig2_layers.layer_errors(plain, stack)


def test_projection_keeps_distances_of_a_path_that_lies_in_a_plane():
    plane = np.array([[0.0, 0, 0], [3, 0, 0], [3, 4, 0]])
    found = fig4_trajectories.project(
        {fig4_trajectories.PLAIN: plane, "off": np.add(plane, (0, 0, 7.0))}
    )

    flat = found[fig4_trajectories.PLAIN]
    assert np.linalg.norm(flat[2] - flat[0]) == pytest.approx(5.0)
    assert np.allclose(found["off"], flat)


@pytest.mark.parametrize("granularity", ["stack", "module"])
def test_fig4_draws_the_path_of_every_run(tiny_pipe, tiny_call, granularity):
    config = CONFIG.replace(granularity=granularity)
    whole = fig4_trajectories.fig4(tiny_pipe, tiny_call, config).axes[0]

    assert [line.get_label() for line in whole.lines] == [
        "uncached",
        "FORA",
        "TaylorSeer",
        "Z-Cache",
    ]
    assert {len(line.get_xdata()) for line in whole.lines} == {10}


def test_fig6_begins_with_the_uncached_picture_and_says_how_far_the_others_are(
    tiny_pipe, tiny_call
):
    axes = fig678_pictures.fig6(tiny_pipe, tiny_call, CONFIG, seed=2, intervals=(1, 4)).axes

    plain = generate(tiny_pipe, tiny_call, seed=2).frames[0]
    ours = generate(tiny_pipe, tiny_call, CONFIG, seed=2).frames[0]
    assert np.array_equal(axes[0].images[0].get_array(), plain)
    assert np.array_equal(axes[3].images[0].get_array(), ours)
    assert axes[2].get_xlabel() == "identical" and re.fullmatch(r"[\d.]+ dB", axes[3].get_xlabel())
    assert [axes[n].get_ylabel() for n in (0, 2)] == ["TaylorSeer", "Z-Cache"]


def test_fig7_cuts_the_same_patch_out_of_every_picture(tiny_pipe, tiny_call):
    axes = fig678_pictures.fig7(
        tiny_pipe, tiny_call, CONFIG, intervals=(3,), box=(0, 0, 0.5, 0.25)
    ).axes

    plain = generate(tiny_pipe, tiny_call).frames[0]
    height, width = plain.shape[:2]
    assert np.array_equal(axes[1].images[0].get_array(), plain[: height // 4, : width // 2])
    assert axes[0].images[0].get_array().shape == plain.shape


def test_a_frame_is_drawn_just_inside_its_box():
    marked = fig678_pictures.framed(np.zeros((6, 6, 3), np.uint8), (1, 2, 5, 6))
    assert {tuple(p) for p in np.argwhere(marked.any(axis=2))} == {
        (y, x) for y in range(2, 6) for x in range(1, 5) if y in (2, 5) or x in (1, 4)
    }


def test_a_box_outside_the_picture_is_refused():
    assert fig678_pictures.corners((0.25, 0, 1, 0.5), (8, 16)) == (4, 0, 16, 4)
    with pytest.raises(ConfigError, match="ascending"):
        fig678_pictures.corners((0.5, 0, 0.25, 1), (8, 16))


def test_fig8_has_a_row_of_frames_for_each_method(tiny_pipes, tiny_calls):
    configs = {"Z-Cache": CONFIG}
    axes = fig678_pictures.fig8(tiny_pipes["video"], tiny_calls["video"], configs, shown=2).axes

    clip = generate(tiny_pipes["video"], tiny_calls["video"], CONFIG).frames
    assert [place.get_title() for place in axes[:2]] == ["frame 0", "frame 4"]
    assert [axes[n].get_ylabel() for n in (0, 2)] == ["uncached", "Z-Cache"]
    assert np.array_equal(axes[3].images[0].get_array(), clip[4])


def test_fig8_refuses_pictures(tiny_pipe, tiny_call):
    with pytest.raises(ConfigError, match="take a video model"):
        fig678_pictures.fig8(tiny_pipe, tiny_call, {})


def test_fig9_divides_by_the_linear_weight(tiny_pipe, tiny_call):
    axes = fig9_weights.fig9(
        tiny_pipe, [tiny_call], CONFIG, intervals=(3, 5), names=["logarithmic"]
    ).axes
    lines = {line.get_label(): line.get_ydata() for line in axes[0].lines}

    assert list(lines) == ["linear", "logarithmic"]
    assert lines["linear"].tolist() == [1.0, 1.0] and (lines["logarithmic"] > 0.5).all()
    scores = {"linear": np.array([[20.0, 0.5]]), "half": np.array([[30.0, 0.25]])}
    drawn = fig9_weights.draw(scores, [4]).axes
    assert [place.lines[1].get_ydata().tolist() for place in drawn] == [[1.5], [0.5]]


def test_the_schedule_shows_every_pass_in_order():
    plan = CONFIG.plan(9)
    place = walk.schedule(plan).axes[0]

    assert place.lines[0].get_ydata().tolist() == [each.step for each in plan.walk]
    shown = {text.get_text() for text in place.get_legend().get_texts()}
    assert shown == {"full: 3", "forecast: 6", "reflected: 8"}


def test_the_commands_write_files(tmp_path, tiny, capsys):
    bench = tmp_path / "bench.json"
    method = {"family": "Z-Cache", "speedup": 2.0, "psnr_mean": 30.0}
    bench.write_text(
        json.dumps({"methods": [method], "environment": {"device": "x", "dtype": "y"}})
    )
    runs = {
        "schedule": ["--steps", "12", "--interval", "4"],
        "speed-quality": ["--bench", str(bench)],
        "fig6": ["--model", tiny, "--steps", "4", "--intervals", "2", "--prompt", "a red circle"],
    }
    for name, more in runs.items():
        out = tmp_path / "made" / f"{name}.svg"
        assert main(["figure", name, *more, "--out", str(out)]) == 0, capsys.readouterr().err
        assert "<svg" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schedule", "--out", "a.gif"], "end it in .svg, .png or .pdf"),
        (["speed-quality", "--bench", "none.json"], "none.json is no file"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())


ROW = {"family": "Z-Cache", "speedup": 2.0, "psnr_mean": 30.0}
ABOUT = {"device": "x", "dtype": "y"}


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        "[1]",
        json.dumps({"methods": [ROW]}),
        json.dumps({"methods": [], "environment": ABOUT}),
        json.dumps({"methods": [ROW, 5], "environment": ABOUT}),
        json.dumps({"methods": [{**ROW, "speedup": None}], "environment": ABOUT}),
        json.dumps({"methods": [{**ROW, "family": 5}], "environment": ABOUT}),
        json.dumps({"methods": [ROW], "environment": {"device": "x"}}),
    ],
)
def test_a_file_that_bench_did_not_write_is_named(text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text(text)

    assert main(["figure", "speed-quality", "--bench", "other.json"]) == 2
    assert capsys.readouterr().err == (
        "zcache: other.json is not what bench writes: give the JSON of `python -m zcache bench`\n"
    )


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="matplotlib is not installed"):
        canvas.blank(1, 1)
