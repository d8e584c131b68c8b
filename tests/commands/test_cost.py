"""`flops` and `bench`: what they count, write and print."""

import json
import re

import pytest
import torch

from zcache import ZCacheConfig
from zcache.commands import main
from zcache.evaluation import printed, rows
from zcache.measure.flop_estimate import estimate
from zcache.measure.flop_meter import FlopMeter
from zcache.models import loading

from .refusing import refused

ROW = "flux-dev/z-cache/9"


def test_flops_prints_the_estimate_in_one_sentence(capsys):
    assert main(["flops", "--model", "dit-xl-2", "--steps", "20", "--interval", "4"]) == 0

    cost = estimate("dit-xl-2", ZCacheConfig(interval=4), 20)
    said = capsys.readouterr().out
    assert said.startswith(f"dit-xl-2: {cost.total_tflops:.4g} of {cost.plain_tflops:.4g} TFLOPs")
    assert f"{cost.full_passes} full passes" in said and said.count("\n") == 1


def test_flops_says_that_a_cached_output_computes_nothing(capsys):
    assert main(["flops", "--model", "dit-xl-2", "--granularity", "output"]) == 0

    assert "reflect passes that compute nothing; the cache" in capsys.readouterr().out


def test_flops_takes_every_setting(capsys):
    arguments = ["flops", "--model", "flux-dev", "--steps", "12", "--interval", "3", "--json"]
    sizes = ["--height", "512", "--width", "256", "--granularity", "output", "--no-reflect"]
    assert main([*arguments, *sizes]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["granularity"]) == ("flux-dev", "output")
    assert (told["num_steps"], told["full_passes"], told["reflect_passes"]) == (12, 5, 0)
    assert told["cached_tflops"] == 0
    assert told["cache_bytes"] == 2 * (512 // 16) * (256 // 16) * 64 * 2  # two anchors, bfloat16


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_flops_of_a_model_that_is_here_are_those_of_its_passes(
    tinies, tiny_pipes, tiny_calls, capsys, kind
):
    """As a meter counts them in a run."""
    assert (
        main(["flops", "--model", tinies[kind], "--steps", "10", "--interval", "4", "--json"]) == 0
    )

    told = json.loads(capsys.readouterr().out)
    call = {**tiny_calls[kind], "generator": torch.Generator().manual_seed(0)}
    with FlopMeter(tiny_pipes[kind]) as meter:
        tiny_pipes[kind](**call)
    assert told["plain_tflops"] == pytest.approx(meter.total / 1e12, rel=0.02)
    assert told["full_passes"] == len(ZCacheConfig(interval=4).plan(10).full_steps)
    at_most = 10 / told["full_passes"]  # where the output is cached, a cached pass is nothing
    assert at_most / 2 < told["speedup"] < at_most or (kind, told["speedup"]) == ("class", at_most)


def test_flops_of_a_row_of_the_paper(capsys):
    assert main(["flops", "--preset", "dit-xl-2/z-cache/7", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    row = rows.row("dit-xl-2/z-cache/7")
    assert told["full_passes"] == len(row.full_steps) == 8
    assert told["total_tflops"] == pytest.approx(row.tflops, rel=0.018)


def test_the_papers_table_has_every_row_and_is_off_by_little(capsys):
    """DiT by the most: the paper counts its cached passes at half of what they are."""
    assert main(["flops", "--paper"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(rows.ROWS)
    off = [float(re.search(r"([+-][\d.]+)%", line)[1]) for line in lines[2:]]
    assert all(abs(percent) < 1.8 for percent in off)


def test_a_rows_tflops_are_the_printed_ones():
    """Table 1: 5.25 for Z-Cache at N = 5; Table 2: 672.59 at N = 9; Table 3: 4794.5, TaylorSeer's."""
    assert rows.row("dit-xl-2/z-cache/5").tflops == 5.25
    assert rows.row("flux-dev/z-cache/9").tflops == 672.59
    assert rows.row("hunyuan-video/taylorseer/7").tflops == 4794.5
    made = {row.method for model in printed.TABLES for row in printed.rows(model)}
    assert {f"row:{name}" for name in rows.ROWS} <= made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "flux"], "model 'flux' is neither known"),
        (["--preset", "flux-dev/z-cache/3"], "preset 'flux-dev/z-cache/3' is unknown"),
        (["--steps", "4", "--interval", "5"], "interval 5 is above the 4 sampling steps"),
        (["--height", "100"], "height is 100"),
        (["--height", "0"], "height is 0"),
        (["--width", "0"], "width is 0"),
        (["--model", "hunyuan-video", "--frames", "0"], "frames is 0"),
        (["--frames", "65"], "frames is 65, but flux-dev makes pictures"),
        (["--preset", ROW, "--model", "dit-xl-2"], "--model has no effect beside --preset"),
        (["--preset", ROW, "--interval", "3"], "--interval has no effect beside --preset"),
        (["--preset", ROW, "--granularity", "stack"], "--granularity has no effect"),
        (["--preset", ROW, "--no-reflect"], "--no-reflect has no effect beside --preset"),
        (["--paper", "--json"], "--json has no effect beside --paper"),
        (["--paper", "--preset", ROW], "--preset has no effect beside --paper"),
        (["--paper", "--steps", "20"], "--steps has no effect beside --paper"),
    ],
)
def test_flops_refuses_in_one_line(capsys, arguments, said):
    assert main(["flops", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("kind", ["image", "class"])
def test_bench_times_every_method_and_writes_result_table_and_plot(tinies, tmp_path, capsys, kind):
    out = tmp_path / "deep" / "result.json"
    arguments = ["bench", "--model", tinies[kind], "--steps", "4", "--intervals", "3"]
    assert main([*arguments, "--repeats", "1", "--no-peers", "--out", str(out), "--json"]) == 0

    captured = capsys.readouterr()
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result == json.loads(captured.out)
    assert (result["model"], result["repeats"]) == (tinies[kind], 1)
    names = [row["name"] for row in result["methods"]]
    assert names[0] == "uncached"
    assert {"UniPC, fewer steps N=3", "DPM-Solver++, fewer steps N=3"} <= set(names)
    assert not [row["error"] for row in result["methods"] if "error" in row]
    assert all(row["psnr_mean"] > 0 for row in result["methods"][1:])
    assert out.with_suffix(".md").read_text().count("\n") == len(names) + 2
    assert "<svg" in out.with_suffix(".svg").read_text()
    told = captured.err.splitlines()
    assert told[0] == f"loading {tinies[kind]}" and "warming up" in told
    assert "repeat 1 of 1: uncached" in told


@pytest.mark.parametrize("name", ["folder.json", "result", "result.md"])
def test_bench_refuses_a_place_that_cannot_be_written_before_loading(
    tiny, tmp_path, capsys, monkeypatch, name
):
    monkeypatch.setattr(loading, "load", None)
    (tmp_path / "folder.json").mkdir()

    said = refused(capsys, "bench", "--model", tiny, "--out", str(tmp_path / name))
    assert f"{name}; give a file that ends in .json" in said


def test_bench_without_repeats_is_refused_before_loading(tiny, capsys, monkeypatch):
    monkeypatch.setattr(loading, "load", None)

    said = refused(capsys, "bench", "--model", tiny, "--repeats", "0")
    assert said == "zcache: repeats is 0; give a whole number from 1 up\n"
