"""What commands refuse: one line on stderr with the cure, and code 2."""

import dataclasses

import pytest

from zcache.models import loading

from .refusing import refused


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
        (
            ["plan", "--steps", "4"],
            "interval is 5 (the default), above the 4 steps: give --interval too",
        ),
        (["plan", "--unknown"], "unrecognized arguments"),
        (
            ["flops", "--model", "dit-xl-2", "--height", "512"],
            "height is 512 and width 256, but dit-xl-2 draws squares",
        ),
        (["fly"], "invalid choice"),
        (["compare", "--prompt", "x", "--out", "x.gif"], "give a folder"),
        (
            ["compare", "--prompt", "x", "--profile", "/no.json"],
            "/no.json cannot be read as a profile",
        ),
        (["compare", "--prompt", "x", "--full", "7"], "full is 7, but no profile is given"),
        (["compare", "--model", "mini-dit", "--class", "9" * 5000], "class is '9999"),
        (["plan", "--diffusion", "--shift", "3"], "not allowed with argument"),
        (["compare"], "prompt is missing"),
        (["compare", "--prompt", " "], "prompt is empty"),
        (["compare", "--prompt", "x", "--height", "130"], "divisible by 16"),
        (["compare", "--prompt", "x", "--model", "nope"], "model 'nope'"),
        (["generate", "--prompt", "x", "--model", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_refusal_is_one_line_and_code_2(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (
            "image",
            ["--class", "red circle"],
            "class is 'red circle', but a model of the kind 'image'",
        ),
        ("image", ["--frames", "5"], "frames is 5, but a model of the kind 'image' has none"),
        ("image", ["--out", "clip.mp4"], "out is clip.mp4, but this model makes a picture"),
        (
            "image",
            ["--out", "x.GIF"],
            "out is x.GIF, but this model makes a picture: end the name in .png",
        ),
        ("video", ["--frames", "6"], "frames is 6; it must be 4k + 1, such as 17: choose 5 or 9"),
        ("video", ["--fps", "0"], "fps is 0; it must be a whole number from 1 to 60"),
        (
            "video",
            ["--out", "x.png"],
            "out is x.png, but this model makes a clip: end the name in .mp4",
        ),
        ("class", [], "prompt is 'x', but a model of the kind 'class' has none"),
    ],
)
def test_a_setting_of_another_kind_is_refused(capsys, tinies, kind, arguments, message):
    command = ["generate", "--model", tinies[kind], "--prompt", "x", *arguments]

    assert message in refused(capsys, *command)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "class is missing; a model of the kind 'class' needs one"),
        (
            ["--class", "dog"],
            "it must be one of red circle, red square, blue circle, azure circle, ",
        ),
        (["--class", "3"], "class is '3'; it must be one of red circle"),
    ],
)
def test_a_class_is_checked_against_those_that_exist(capsys, tinies, given, message):
    assert message in refused(capsys, "compare", "--model", tinies["class"], *given)


@pytest.mark.parametrize(
    ("name", "subject"),
    [("mini-hunyuan", ["--prompt", "x"]), ("mini-dit", ["--class", "face"])],
)
def test_an_absent_embedded_checkpoint_is_one_line(capsys, monkeypatch, tmp_path, name, subject):
    gone = dataclasses.replace(loading.KNOWN[name], source=str(tmp_path / name))
    monkeypatch.setitem(loading.KNOWN, name, gone)

    said = refused(capsys, "compare", "--model", name, *subject, "--out", str(tmp_path))
    assert f"the checkpoint folder {tmp_path / name} is missing" in said


def test_a_folder_that_is_no_checkpoint_is_one_line(capsys, tmp_path):
    assert "model_index.json is missing" in refused(
        capsys, "generate", "--prompt", "x", "--model", str(tmp_path)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tune --steps 0", "steps is 0; give a whole number from 2 up"),
        ("tune --steps 1", "steps is 1; give a whole number from 2 up"),
        ("tune --count 0", "count is 0; give a whole number from 1 up"),
        ("tune --count -1", "count is -1; give a whole number from 1 up"),
        ("tune --held-out 0", "held-out is 0; give a whole number from 1 up"),
        ("tune --effort 1", "effort is 1 uncached runs, and these prompts and budgets need 12.8"),
        ("tune --speedup 60", "two full steps of 50 give 25 at most; ask for less"),
        ("tune --full 9 --steps 8", "full is 9; give a whole number from 2 to 8"),
        ("tune --projections -1", "projections is -1; give a whole number from 0 up"),
        ("tune --granularity x", "granularity 'x' is unknown; choose one of"),
        (f"tune --folder {__file__}", "test_refusals.py, which is a file; give a folder"),
        ("bench --intervals 0", "interval is 0; give a whole number from 1 up"),
        ("bench --steps 5 --intervals 8", "interval 8 is above the 5 sampling steps"),
        ("bench --methods zcache:x", "method 'zcache:x': it has 'x' where a whole number stands"),
        ("evaluate --methods zcache:x", "method 'zcache:x': it has 'x' where a whole number"),
        ("figure fig9 --count 0", "count is 0; give a whole number from 1 up"),
        ("figure fig9 --count -1", "count is -1; give a whole number from 1 up"),
        ("figure fig6 --intervals 3 0", "interval is 0; give a whole number from 1 up"),
        ("figure fig7 --intervals 9 --steps 8", "interval 9 is above the 8 sampling steps"),
    ],
)
def test_what_the_options_tell_is_refused_before_a_model_is_loaded(
    capsys, tiny, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr(loading, "load", None)
    monkeypatch.chdir(tmp_path)

    assert message in refused(capsys, *arguments.split(), "--model", tiny)


def test_an_unwritable_place_is_one_line(capsys, tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    common = ["--model", tiny, "--prompt", "x", "--steps", "2", "--interval", "1"]

    said = refused(capsys, "compare", *common, "--out", str(tmp_path / "file" / "out"))
    assert "leads through a file as if it were a folder: choose another place" in said
    said = refused(capsys, "compare", *common, "--out", str(tmp_path / "file"))
    assert "file is a file where a folder is needed" in said


@pytest.mark.parametrize("device", ["banana", "cuda:99", "xpu"])
def test_a_device_that_is_not_here_is_one_line(capsys, tiny, tmp_path, device):
    common = ["--model", tiny, "--prompt", "x", "--out", str(tmp_path), "--device", device]

    said = refused(capsys, "compare", *common)
    assert f"device is '{device}', which PyTorch does not find here: give c" in said
