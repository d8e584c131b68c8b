"""`evaluate`: what is done is never lost, never repeated, and does not depend on who did it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zcache import ConfigError
from zcache.commands import main
from zcache.evaluation import methods, printed, prompts, table
from zcache.evaluation.drawing import Task, exact_frames, rounded, sample_as_in_the_paper
from zcache.evaluation.evaluate import Asked, evaluate
from zcache.evaluation.processes import Share
from zcache.evaluation.store import Store, file_name
from zcache.models import loading
from zcache.models.request import Request

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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("magic:5", "method 'magic:5' is unknown"),
        ("zcache", "lacks its number"),
        ("zcache:five", "where a whole number stands"),
        ("zcache:5,colour=red", "setting 'colour=red' is unknown"),
        ("zcache:51", "interval 51 is above the 50"),
        ("steps:60", "choose 1 to 50"),
        ("row:flux-dev/z-cache/3", "preset 'flux-dev/z-cache/3' is unknown"),
        ("teacache:-1", "threshold is -1.0"),
    ],
)
def test_a_bad_method_is_one_sentence(name, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        methods.parse(name, 50)


def test_sets_are_written_out_once_each_with_the_reference_first():
    names = methods.expand(["equal:5", "zcache:5", "weights:5"], "mini-flux", 50)

    assert names[0] == "uncached" and len(names) == len(set(names))
    assert {"steps:11", "unipc:11", "dpm:11", "zcache:5", "zcache:5,weight=linear"} <= set(names)
    assert all(methods.parse(name, 50) for name in names)


@pytest.mark.parametrize("model", [*printed.TABLES, *printed.STANDS_FOR])
def test_every_row_of_the_paper_that_is_made_here_is_a_method(model):
    assert all(methods.parse(name, 50) for name in methods.expand(["paper"], model, 50))


def test_the_tables_speedups_are_those_that_the_paper_prints():
    """Table 1: 6.22 times at N = 7; Table 2: 5.53 at N = 9; Table 3: 6.20 at N = 7."""
    wanted = {"dit-xl-2": ("z-cache/7", 6.22), "flux-dev": ("z-cache/9", 5.53)}
    wanted["hunyuan-video"] = ("z-cache/7", 6.20)
    for model, (row, speedup) in wanted.items():
        tflops = {r.method: r.values["tflops"] for r in printed.rows(model)}
        found = tflops["uncached"] / tflops[f"row:{model}/{row}"]
        assert found == pytest.approx(speedup, abs=0.011)


def test_the_papers_numbers_stand_beside_ours_and_its_other_rows_below():
    own = {"method": "row:flux-dev/z-cache/9", "psnr": 21.3, "psnr_interval": 0.4}
    result = {"settings": {"model": "flux-dev"}, "methods": [own]}

    written = table.table(result, {})

    assert "| `row:flux-dev/z-cache/9` (Z-Cache (N=9)) | 21.30 ± 0.40 (paper 29.17) |" in written
    assert "| ToCa (N=12), not run | (paper 28.73) |" in written


def test_names_of_methods_make_different_files():
    names = ["zcache:5,weight=linear", "zcache:5", "row:flux-dev/z-cache/9", "a%2F", "a/"]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any("/" in file_name(name) for name in names)


def test_every_subject_comes_once_before_any_comes_again_with_another_seed():
    task = Task("image", {}, ["a", "b"], count=5, seed=7, batch=2)

    calls = [task.arguments(batch) for batch in task.batches]

    assert [call["prompt"] for call in calls] == [["a", "b"], ["a", "b"], ["a"]]
    assert [g.initial_seed() for call in calls for g in call["generator"]] == [7, 8, 9, 10, 11]


def test_frames_are_rounded_to_levels():
    class Output:
        images = np.full((1, 2, 2, 3), 0.5019)

    assert rounded(exact_frames(Output)).tolist() == np.full((1, 1, 2, 2, 3), 128).tolist()


def test_prompts_are_read_from_every_kind_of_file(tmp_path):
    written = {
        "a.txt": "one\n\n two \none\n",
        "a.tsv": 'Prompt\tCategory\none\tx\n"two"\ty\n',
        "a.json": json.dumps([{"prompt_en": "one", "dimension": []}, {"prompt_en": "two"}]),
    }
    for name, content in written.items():
        (tmp_path / name).write_text(content)
        assert prompts.from_file(tmp_path / name) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "holds no prompts"),
        ("a.csv", "x", "give a .txt, .tsv or .json file"),
        ("a.json", "[1]", "where a prompt stands"),
        ("a.txt", "x" * 501, "prompt has 501 characters"),
        ("none.txt", None, "nor a file"),
    ],
)
def test_a_bad_file_of_prompts_is_one_sentence(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        prompts.from_file(tmp_path / name)


def test_parti_comes_from_the_hub(monkeypatch, tmp_path):
    (tmp_path / "PartiPrompts.tsv").write_text("Prompt\tCategory\na fox\tAnimals\n")
    fetched = []

    def download(repo: str, filename: str, repo_type: str) -> str:
        fetched.append((repo, repo_type))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert prompts.read("parti", loading.find("mini-flux"), None) == ["a fox"]
    assert fetched == [("nateraw/parti-prompts", "dataset")]


def test_classes_come_in_turn_and_by_name(tinies, tmp_path):
    model = loading.KNOWN[tinies["class"]]
    labels = loading.labels(model)
    name = next(iter(labels))
    (tmp_path / "classes.txt").write_text(f"{name}\n")

    assert prompts.read("imagenet", model, None) == sorted(set(labels.values()))
    assert prompts.read(str(tmp_path / "classes.txt"), model, None) == [labels[name]]
    with pytest.raises(ConfigError, match="are text"):
        prompts.read("parti", model, None)


def test_captions_of_the_embedded_models_are_held_out():
    from zcache.models.mini.parts import split

    found = prompts.read("embedded", loading.find("mini-flux"), 8)
    assert len(found) == 8 and {split(caption) for caption in found} == {"held-out"}
    assert Request(prompt=found[0]).prompt == found[0]
