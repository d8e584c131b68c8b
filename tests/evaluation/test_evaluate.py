"""`evaluate`: what is done is never lost, never repeated, and does not depend on who did it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zcache import ConfigError
from zcache.commands import main
from zcache.evaluation import table
from zcache.evaluation.drawing import Task, exact_frames, rounded, sample_as_in_the_paper
from zcache.evaluation.evaluate import Asked, evaluate
from zcache.evaluation.processes import Share
from zcache.evaluation.store import Store
from zcache.models import hub, loading

STEPS = 6


NAMES = ("steps:3", "taylorseer:3", "zcache:3,weight=linear")


CLOCKED = ("timings", "timings.json", "table.md")


def asked(**changes: Any) -> Asked:
    settings = {"names": NAMES, "count": 2, "steps": STEPS, **changes}
    return Asked(**settings)


def files(folder: Path) -> dict[str, bytes]:
    """Everything but what a clock wrote."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {n: p.read_bytes() for n, p in found.items() if n.split("/")[0] not in CLOCKED}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_pipe, tiny) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("undisturbed")
    return out, evaluate(tiny_pipe, loading.KNOWN[tiny], asked(), out)


class Stopped(BaseException):
    """As sudden as a signal."""


@pytest.mark.parametrize("after", [1, 5, 9])
def test_a_stopped_run_goes_on_to_the_very_same_bytes(
    tmp_path, undisturbed, tiny_pipe, tiny, after
):
    told = []

    def stop(line: str) -> None:
        told.append(line)
        if len(told) == after:
            raise Stopped

    with pytest.raises(Stopped):
        evaluate(tiny_pipe, loading.KNOWN[tiny], asked(), tmp_path, told=stop)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    evaluate(tiny_pipe, loading.KNOWN[tiny], asked(), tmp_path)

    assert files(tmp_path) == files(undisturbed[0])
    assert len(before) == after - 1
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_two_processes_give_what_one_gives(tmp_path, undisturbed, tiny_pipe, tiny):
    model = loading.KNOWN[tiny]

    assert evaluate(tiny_pipe, model, asked(), tmp_path, Share(1, 2)) is None
    result = evaluate(tiny_pipe, model, asked(), tmp_path, Share(0, 2))

    assert result == undisturbed[1]
    assert files(tmp_path) == files(undisturbed[0])


def test_a_method_may_join_later_and_is_compared_as_if_it_had_been_there(
    tmp_path, undisturbed, tiny_pipe, tiny
):
    model = loading.KNOWN[tiny]
    evaluate(tiny_pipe, model, asked(names=NAMES[:1]), tmp_path)
    evaluate(tiny_pipe, model, asked(names=NAMES[1:]), tmp_path)
    kept = {row["method"]: row for row in undisturbed[1]["methods"]}
    joined = {
        row["method"]: row for row in json.loads((tmp_path / "results.json").read_text())["methods"]
    }
    evaluate(tiny_pipe, model, asked(), tmp_path)

    assert joined == kept
    assert files(tmp_path) == files(undisturbed[0])


def test_pixels_cannot_be_had_of_samples_that_were_drawn_without(tmp_path, tiny_pipe, tiny):
    model, few = loading.KNOWN[tiny], {"names": ("steps:1",), "steps": 2, "count": 1}
    evaluate(tiny_pipe, model, asked(**few, metrics=()), tmp_path)
    with pytest.raises(ConfigError, match="drawn without the metric 'pixels'"):
        evaluate(tiny_pipe, model, asked(**few), tmp_path)


def test_a_finished_run_is_not_drawn_again(undisturbed, tiny_pipe, tiny):
    calls = []
    hook = tiny_pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        again = evaluate(tiny_pipe, loading.KNOWN[tiny], asked(), undisturbed[0])
    finally:
        hook.remove()

    assert calls == [] and again == undisturbed[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "begun with seed 0, and seed is 1 now"),
        ({"count": 3}, "begun with count 2, and count is 3 now"),
        ({"steps": 7}, "begun with call"),
    ],
)
def test_other_settings_are_refused(undisturbed, tiny_pipe, tiny, change, said):
    with pytest.raises(ConfigError, match=said):
        evaluate(tiny_pipe, loading.KNOWN[tiny], asked(**change), undisturbed[0])


def test_other_weights_under_the_same_name_are_refused(undisturbed, tiny_pipe, tiny):
    weight = next(tiny_pipe.transformer.parameters()).data
    kept = weight.clone()
    weight += 1
    try:
        with pytest.raises(ConfigError, match="begun with weights"):
            evaluate(tiny_pipe, loading.KNOWN[tiny], asked(), undisturbed[0])
    finally:
        weight.copy_(kept)


def test_another_commit_of_a_repository_is_refused(tmp_path, tiny_pipe, tiny, monkeypatch):
    model = replace(loading.KNOWN[tiny], source="a/b")
    few = asked(names=("steps:1",), steps=2, count=1, metrics=())
    for commit, said in (("c", ""), ("d", 'begun with weights "c", and weights is "d" now')):
        monkeypatch.setitem(hub._commits, "a/b", commit)
        with pytest.raises(ConfigError, match=said) if said else nullcontext():
            evaluate(tiny_pipe, model, few, tmp_path)


def test_the_result_counts_what_every_method_did(undisturbed):
    rows = {row["method"]: row for row in undisturbed[1]["methods"]}

    assert list(rows) == ["uncached", *NAMES]
    assert rows["uncached"]["psnr"] == 100.0 and rows["uncached"]["ssim"] == 1.0
    assert rows["steps:3"]["flops_speedup"] == 2.0
    assert rows["taylorseer:3"]["full_passes"] == rows["zcache:3,weight=linear"]["full_passes"] == 3
    assert 20 < rows["taylorseer:3"]["psnr"] < 100
    assert json.loads((undisturbed[0] / "results.json").read_text()) == undisturbed[1]
    assert set(json.loads((undisturbed[0] / "timings.json").read_text())) == set(rows)


def test_a_method_that_does_not_know_the_pipeline_says_so(tmp_path, tiny_pipes, tinies):
    model = loading.KNOWN[tinies["class"]]
    wanted = asked(names=("diffusers-taylorseer:3", "unipc:3", "dpm:3"), count=2, batch=2)

    result = evaluate(tiny_pipes["class"], model, wanted, tmp_path)

    rows = {row["method"]: row for row in result["methods"]}
    assert "no layers named for DiTTransformer2DModel" in rows["diffusers-taylorseer:3"]["error"]
    assert rows["unipc:3"]["flops_speedup"] == rows["dpm:3"]["flops_speedup"] == 2.0
    assert "no layers named" in table.table(result, {})


@pytest.mark.parametrize("kind", ["image", "video", "class"])
@pytest.mark.parametrize("sampler", ["unipc", "dpm"])
def test_fewer_steps_of_another_sampler_stay_near_the_uncached_output(
    tmp_path, tiny_pipes, tinies, kind, sampler
):
    names = (f"{sampler}:{STEPS}", "steps:2")
    result = evaluate(
        tiny_pipes[kind], loading.KNOWN[tinies[kind]], asked(names=names, count=1), tmp_path
    )

    same, few = ({r["method"]: r for r in result["methods"]}[name] for name in names)
    assert same["flops_speedup"] == 1.0 and same["psnr"] > few["psnr"]


def test_clips_are_stored_whole_and_judged_over_time(tmp_path, tiny_pipes, tinies):
    model = loading.KNOWN[tinies["video"]]

    result = evaluate(tiny_pipes["video"], model, asked(names=("zcache:3",), count=1), tmp_path)

    plain, cached = result["methods"]
    assert Store(tmp_path).frames("zcache:3", 0).shape[::4] == (5,)
    assert plain["temporal_drift"] == 0.0 < cached["temporal_drift"]
    assert 0 < cached["temporal_consistency"] <= 1


def test_the_command_draws_and_prints_the_table(tmp_path, tiny, capsys):
    arguments = ["evaluate", "--task", "image", "--model", tiny, "--methods", "zcache:2"]
    code = main([*arguments, "--steps", "4", "--count", "1", "--out", str(tmp_path / "out")])

    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out == (tmp_path / "out" / "table.md").read_text()
    assert "drawn 2 of 2: zcache:2, sample 0; 0 s left" in said.err


def test_the_command_computes_with_the_threads_it_was_given_whatever_the_launcher_chose(
    tmp_path, tiny, capsys
):
    former = torch.get_num_threads()
    arguments = [
        "evaluate",
        "--model",
        tiny,
        "--methods",
        "uncached",
        "--steps",
        "2",
        "--count",
        "1",
    ]
    torch.set_num_threads(2)
    try:
        assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(former)

    settings = json.loads((tmp_path / "one" / "results.json").read_text())["settings"]
    assert settings["device"].endswith(", 1 thread")
    assert main([*arguments, "--threads", "0", "--out", str(tmp_path / "none")]) == 2
    assert "threads is 0" in capsys.readouterr().err


def test_the_papers_models_are_sampled_as_in_the_paper(tiny_pipes):
    pipe = tiny_pipes["class"]
    own = pipe.scheduler
    try:
        sample_as_in_the_paper(pipe, "tiny-dit")
        assert pipe.scheduler is own
        sample_as_in_the_paper(pipe, "dit-xl-2")
        assert pipe.scheduler.config.timestep_spacing == "linspace"
        assert type(pipe.scheduler) is type(own)
    finally:
        pipe.scheduler = own


def test_the_command_refuses_another_task(tmp_path, tiny, capsys):
    assert main(["evaluate", "--task", "video", "--model", tiny, "--out", str(tmp_path)]) == 2
    assert f"task is video, but {tiny} makes image" in capsys.readouterr().err


def test_every_subject_comes_once_before_any_comes_again_with_another_seed():
    task = Task("image", {}, ["a", "b"], count=5, seed=7, batch=2)

    calls = [task.arguments(batch) for batch in task.batches]

    assert [call["prompt"] for call in calls] == [["a", "b"], ["a", "b"], ["a"]]
    assert [g.initial_seed() for call in calls for g in call["generator"]] == [7, 8, 9, 10, 11]


def test_frames_are_rounded_to_levels():
    class Output:
        images = np.full((1, 2, 2, 3), 0.5019)

    assert rounded(exact_frames(Output)).tolist() == np.full((1, 1, 2, 2, 3), 128).tolist()
