"""The commands: what each writes and prints."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import imageio.v2 as imageio
import pytest
from PIL import Image

from zcache import ZCacheConfig, __version__
from zcache.commands import _parser, main, output
from zcache.method.laid_out import compact
from zcache.models import loading
from zcache.models.mini import world
from zcache.models.request import checked

from .refusing import refused

README = Path(__file__).parents[2] / "zcache" / "commands" / "README.md"


def test_compare_writes_pictures_and_report(tiny, tmp_path, capsys):
    out = tmp_path / "new" / "folder"

    code = main(
        shlex.split(
            f"compare --model {tiny} --prompt 'a red circle' --interval 4 --steps 8 "
            f"--base fora --weight linear --seed 3 --out {out} --json"
        )
    )

    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["seed"], report["config"]["base"]) == (3, "fora")
    assert report["config"]["weight"] == "linear"
    assert {"speedup", "baseline_seconds", "accelerated_seconds", "full_steps"} <= set(report)
    sizes = {
        n: Image.open(out / f"{n}.png").size for n in ("baseline", "accelerated", "side_by_side")
    }
    assert sizes == {"baseline": (64, 64), "accelerated": (64, 64), "side_by_side": (136, 64)}


def test_compare_says_the_speedup_in_one_sentence(tiny, tmp_path, capsys):
    code = main(
        shlex.split(f"compare --model {tiny} --prompt x --steps 4 --interval 1 --out {tmp_path}")
    )

    assert code == 0
    assert "times faster" in (said := capsys.readouterr().out)
    for part in ("identical", "end to end", "1.00 times fewer FLOPs", " ± "):
        assert part in said
    assert said.endswith("\nIdentical: every pixel is that of the plain picture.\n")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"]["level"] == "identical" and report["not_taught"] == []


@pytest.mark.parametrize("command", ["compare", "generate"])
def test_words_that_an_embedded_model_was_not_taught_are_told_before_it_draws(
    tiny, tmp_path, capsys, monkeypatch, command
):
    monkeypatch.setitem(world.TAUGHT, tiny, {"a", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, tiny, {"circle"})
    given = f"{command} --model {tiny} --steps 2 --interval 1 --out {tmp_path} --json --prompt"

    main([*shlex.split(given), "a red circle"])
    assert capsys.readouterr().err == ""
    main([*shlex.split(given), "a red fox in snow"])
    captured = capsys.readouterr()
    assert f"{tiny} was not taught: fox, snow; it draws only" in captured.err
    assert json.loads(captured.out)["not_taught"] == ["fox", "snow"]


def test_generate_writes_a_picture_in_a_folder_or_at_a_path(tiny, tmp_path, capsys):
    common = ["generate", "--model", tiny, "--prompt", "x", "--steps", "4", "--interval", "2"]

    main([*common, "--out", str(tmp_path)])
    main([*common, "--out", str(tmp_path / "deep" / "mine.png"), "--no-reflect", "--json"])

    assert Image.open(tmp_path / "picture.png").size == (64, 64)
    assert Image.open(tmp_path / "deep" / "mine.png").size == (64, 64)
    report = json.loads((tmp_path / "deep" / "mine.json").read_text(encoding="utf-8"))
    assert report["reflect_passes"] == 0
    assert report["denoise_seconds"] > 0


def test_generate_takes_a_size(tiny, tmp_path):
    main(
        shlex.split(
            f"generate --model {tiny} --prompt x --steps 2 --interval 1 "
            f"--height 96 --width 80 --out {tmp_path}"
        )
    )

    assert Image.open(tmp_path / "picture.png").size == (80, 96)


def test_plan_prints_the_walk(capsys):
    assert main(["plan", "--steps", "7", "--interval", "3"]) == 0

    assert capsys.readouterr().out == (
        "full steps: 0, 3, 6\n0F 1f 2f 3F 1r 2r 3r 4f 5f 6F 4r 5r 6r\n"
        "3 of 7 steps in full, 4 forecast and 6 reflect passes: at most 2.33 times fewer FLOPs\n"
    )


def test_plan_as_json(capsys):
    main(["plan", "--steps", "4", "--interval", "3", "--no-reflect", "--json"])

    said = capsys.readouterr().out
    assert json.loads(said) == {
        "adaptive": False,
        "full_steps": [0, 3],
        "walk": "0F 1f 2f 3F",
        "full_passes": 2,
        "forecast_passes": 2,
        "reflect_passes": 0,
        "most_speedup": 2.0,
    }
    assert '"full_steps": [0, 3],' in said  # in one line


def test_a_plan_that_the_run_decides_is_told_as_about_what_it_is(capsys):
    assert main(["plan", "--steps", "20", "--base", "teacache"]) == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith("full steps: about 0, 5, ")
    assert first.endswith(" (adaptive: decided in the run, by how much its steps change)")
    assert last.startswith("about 5 of 20 steps in full, ") and "at most" not in last

    assert main(["plan", "--steps", "20", "--base", "teacache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adaptive"] is True


def test_a_class_is_compared_by_name_or_number(capsys, tinies, tmp_path):
    common = ["compare", "--model", tinies["class"], "--steps", "6", "--interval", "3", "--json"]

    reports = []
    for name in ("azure circle", "2"):
        assert main([*common, "--class", name, "--out", str(tmp_path / name)]) == 0
        reports.append(json.loads(capsys.readouterr().out))

    assert reports[0]["call"]["class_labels"] == reports[1]["call"]["class_labels"] == [2]
    assert reports[0]["psnr"] == reports[1]["psnr"]
    assert Image.open(tmp_path / "2" / "side_by_side.png").size == (136, 64)


def decoded(path):
    with imageio.get_reader(path) as reader:
        return reader.get_meta_data(), list(reader.iter_data())


def test_a_video_is_compared_as_clips_that_play(capsys, tinies, tmp_path):
    code = main(
        shlex.split(
            f"compare --model {tinies['video']} --prompt 'a red circle' --steps 6 --interval 3 "
            f"--frames 9 --fps 5 --frames-png --json --out {tmp_path}"
        )
    )

    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["call"]["num_frames"] == 9
    assert report["psnr_worst_frame"] <= report["psnr"]
    assert report["ssim_worst_frame"] <= report["ssim"]
    for name, width in (("baseline", 64), ("accelerated", 64), ("side_by_side", 136)):
        facts, frames = decoded(tmp_path / f"{name}.mp4")
        assert [frame.shape for frame in frames] == [(64, width, 3)] * 9
        assert (facts["codec"], facts["pix_fmt"][:7], facts["fps"]) == ("h264", "yuv420p", 5)
    for side in ("baseline", "accelerated"):
        assert len(list((tmp_path / side).glob("*.png"))) == 9


def test_a_video_is_generated_into_a_file_of_ones_own_name(tinies, tmp_path):
    out = tmp_path / "mine.mp4"

    main(
        shlex.split(
            f"generate --model {tinies['video']} --prompt x --steps 4 --frames-png --interval 2 --out {out}"
        )
    )

    assert len(decoded(out)[1]) == 5
    assert out.with_suffix(".json").is_file()
    assert Image.open(tmp_path / "mine" / "0004.png").size == (64, 64)


@pytest.mark.parametrize("pipeline", ["HunyuanVideoPipeline", "DiTPipeline"])
def test_a_folder_of_any_supported_class_needs_no_entry(capsys, folders, tmp_path, pipeline):
    kind = {"HunyuanVideoPipeline": "video", "DiTPipeline": "class"}[pipeline]
    subject = {"video": "--prompt x --frames 1 --height 64 --width 64", "class": "--class 0"}[kind]

    assert main(
        shlex.split(
            f"compare --model {folders[kind]} {subject} --steps 2 --interval 1 --out {tmp_path}"
        )
    ) == 0  # fmt: skip
    assert "identical" in capsys.readouterr().out


def test_a_shift_draws_the_planned_steps_to_the_end(capsys):
    plans = []
    for more in ([], ["--shift", "1"], ["--shift", "7"]):
        assert main(["plan", "--steps", "50", "--interval", "7", "--json", *more]) == 0
        plans.append(json.loads(capsys.readouterr().out)["full_steps"])
    assert plans[0] == [0, 7, 14, 21, 28, 35, 42, 49]
    assert sum(plans[1]) < sum(plans[0]) < sum(plans[2])
    assert "shift is 0; give a number above 0" in refused(capsys, "plan", "--shift", "0")


def test_a_diffusion_samplers_plan_is_that_of_its_run(capsys):
    assert main(["plan", "--steps", "50", "--interval", "8", "--diffusion", "--json"]) == 0

    planned = json.loads(capsys.readouterr().out)["full_steps"]
    request = checked(kind="class", labels={"cat": 0}, label="cat", interval=8)
    assert planned == list(request.plan().full_steps) == [0, 7, 13, 20, 26, 33, 39, 46]


@pytest.mark.parametrize(
    ("name", "subject", "ending"),
    [
        ("mini-flux", ["--prompt", "a rocket on a blue dotted background"], "png"),
        ("mini-hunyuan", ["--prompt", "a red circle moves left"], "mp4"),
        ("mini-dit", ["--class", "vehicle"], "png"),
    ],
)
def test_the_embedded_models_are_compared(capsys, tmp_path, name, subject, ending):
    arguments = ["--model", name, *subject, "--steps", "10", "--interval", "2", "--json"]

    assert main(["compare", *arguments, "--out", str(tmp_path)]) == 0

    report = json.loads(capsys.readouterr().out)
    even = ZCacheConfig(interval=2).plan(10).full_steps
    last = 8 if name == "mini-dit" else 9  # a diffusion's ends half a window before
    assert len(report["full_steps"]) == len(even) and report["full_steps"][-1] == last
    assert report["psnr"] > 20
    side = loading.KNOWN[name].call.get("height", 128)
    assert decoded(tmp_path / f"accelerated.{ending}")[1][0].shape == (side, side, 3)


def test_without_a_command_it_prints_its_help(capsys):
    assert main([]) == 0

    captured = capsys.readouterr()
    assert captured.out.startswith("usage: python -m zcache") and captured.err == ""
    assert "examples:\n  python -m zcache compare" in captured.out


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])

    assert (stop.value.code, capsys.readouterr().out) == (0, f"zcache {__version__}\n")


@pytest.mark.parametrize("command", ["compare", "generate", "plan", "flops"])
def test_every_setting_has_help_and_the_command_an_example(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])

    said = " ".join(capsys.readouterr().out.split())
    assert f"example: python -m zcache {command} --" in said
    assert re.search(r"--no-reflect [a-z]", said)


def test_every_option_has_help_and_a_model_its_names_and_default(tinies):
    commands = _parser()._subparsers._group_actions[0].choices
    actions = {(name, a.dest): a for name, sub in commands.items() for a in sub._actions}

    assert [place for place, action in actions.items() if not action.help] == []
    models = {name: a.help for (name, dest), a in actions.items() if dest == "model"}
    assert len(models) == 7
    for said in models.values():
        assert all(name in said for name in set(loading.KNOWN) - set(tinies.values()))
        assert "default" in said
    orders = [a.help for (_, dest), a in actions.items() if dest == "order"]
    assert orders and all("taylorseer and hicache" in said for said in orders)


def test_a_terminal_is_told_how_far_it_is(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output, "SECONDS_APART", 0.0)
    common = ["--model", tiny, "--prompt", "x", "--steps", "4", "--interval", "2"]

    assert main(["compare", *common, "--out", str(tmp_path)]) == 0

    shown = [line.strip() for line in capsys.readouterr().err.split("\r")]
    assert shown[1] == f"loading {tiny}" and "warming up" in shown
    assert "Z-Cache: step 1 of 4, full" in shown and "plain: step 4 of 4" in shown
    assert shown[-1] == ""  # nothing is left of it


def test_json_keeps_lists_of_words_in_one_line_and_lists_of_lists_apart():
    value = {"a": [1, 2], "b": {"c": []}, "d": [{"e": "f"}, [1]], "g": {}}

    assert json.loads(compact(value)) == value
    assert compact(value).splitlines()[1] == '  "a": [1, 2],'


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "zcache", "plan", "--steps", "3", "--interval", "2"]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "0F 1f 2F 1r 2r\n" in said


def test_the_table_of_the_readme_has_every_command(capsys):
    main([])
    listed = re.findall(r"^    (\w+)\b", capsys.readouterr().out.split("options:")[0], re.MULTILINE)
    told = re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(listed) > 6 and sorted(told) == sorted(listed)


@pytest.mark.parametrize(
    ("command", "place"), [("generate", "file or folder"), ("compare", "folder")]
)
def test_help_says_what_out_is(capsys, command, place):
    with pytest.raises(SystemExit):
        main([command, "--help"])

    assert f"--out OUT {place} (default: out)" in " ".join(capsys.readouterr().out.split())
