import json
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from zcache.cli import main


def refused(capsys, *arguments: str) -> str:
    """Run a command that must be refused and return its one line on stderr."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


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
    assert "identical" in said


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
    )


def test_plan_as_json(capsys):
    main(["plan", "--steps", "4", "--interval", "3", "--no-reflect", "--json"])

    assert json.loads(capsys.readouterr().out) == {"full_steps": [0, 3], "walk": "0F 1f 2f 3F"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--interval", "0"], "interval is 0"),
        (["plan", "--interval", "2.5"], "interval is 2.5"),
        (["plan", "--interval", "51"], "from 1 to 50"),
        (["plan", "--interval", "nan"], "interval is nan"),
        (["plan", "--interval", "x"], "'x' is not a number"),
        (["plan", "--base", "x"], "base is 'x'"),
        (["plan", "--weight", "x"], "weight is 'x'"),
        (["plan", "--granularity", "x"], "granularity is 'x'"),
        (["plan", "--unknown"], "unrecognized arguments"),
        (["fly"], "invalid choice"),
        ([], "required: command"),
        (["compare"], "required: --prompt"),
        (["compare", "--prompt", " "], "prompt is empty"),
        (["compare", "--prompt", "x", "--height", "130"], "divisible by 16"),
        (["compare", "--prompt", "x", "--model", "nope"], "model 'nope'"),
        (["generate", "--prompt", "x", "--model", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_refusal_is_one_line_and_code_2(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_a_folder_that_is_no_checkpoint_is_one_line(capsys, tmp_path):
    assert "model_index.json is missing" in refused(
        capsys, "generate", "--prompt", "x", "--model", str(tmp_path)
    )


def test_an_unwritable_place_is_one_line(capsys, tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    common = ["--model", tiny, "--prompt", "x", "--steps", "2", "--interval", "1"]

    assert "file" in refused(capsys, "compare", *common, "--out", str(tmp_path / "file" / "out"))


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "zcache", "plan", "--steps", "3", "--interval", "2"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith(
        "0F 1f 2F 1r 2r\n"
    )
