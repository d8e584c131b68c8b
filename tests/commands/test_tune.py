import json
import shlex
from pathlib import Path

import pytest

from zcache import Profile
from zcache.commands import main
from zcache.models import loading

from .refusing import refused


def made(tiny, folder) -> Path:
    out = folder / "my.json"
    code = main(
        shlex.split(
            f"tune --model {tiny} --count 1 --held-out 2 --full 3 --budgets 4 --effort 9 --steps 6 "
            f"--plot {folder / 'curve.png'} --out {out}"
        )
    )
    assert code == 0
    return out


@pytest.fixture
def profile(tiny, tmp_path):
    return made(tiny, tmp_path)


def test_tune_writes_a_profile_a_table_and_a_curve(tiny, tmp_path, capsys):
    written = Profile.load(made(tiny, tmp_path))
    printed = capsys.readouterr()

    assert sorted(written.budgets) == sorted(written.figures) == [3, 4]
    assert "| 4 | " in printed.out
    assert "±" in printed.out
    assert "up to 9 uncached runs' time" in printed.err
    assert "loop: times faster" in printed.err
    assert (tmp_path / "curve.png").stat().st_size > 0


@pytest.mark.parametrize(("more", "full"), [([], 3), (["--full", "4"], 4)])
def test_a_profile_takes_the_place_of_the_settings(tiny, profile, tmp_path, capsys, more, full):
    capsys.readouterr()

    main(
        [
            *shlex.split(f"compare --model {tiny} --prompt x --steps 6 --profile {profile} --json"),
            *more,
            *("--out", str(tmp_path / "both")),
        ]
    )

    report = json.loads(capsys.readouterr().out)
    assert report["full_steps"] == list(Profile.load(profile).budgets[full].full_steps)


@pytest.mark.parametrize("steps", [9, 4])  # 4: below the interval, whose place it takes
def test_a_profile_serves_other_steps_by_noise_level(tiny, profile, tmp_path, capsys, steps):
    capsys.readouterr()

    main(
        shlex.split(
            f"generate --model {tiny} --prompt x --steps {steps} --profile {profile} --out {tmp_path} --json"
        )
    )

    assert "mapped" in json.loads(capsys.readouterr().out)["fallbacks"][0]


def test_full_steps_that_a_profile_has_not_are_refused(profile, tiny, capsys):
    capsys.readouterr()
    for full in ("0", "5"):
        command = ["compare", "--model", tiny, "--prompt", "x", "--profile", str(profile)]
        said = refused(capsys, *command, "--full", full)
        assert f"the profile has nothing for full {full}; it has 3, 4 full steps" in said


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--out", "folder.json", "give a file that ends in .json"),
        ("--out", "profile", "give a file that ends in .json"),
        ("--plot", "x.foo", "give a file that ends in .svg or .png or .pdf"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_loading(
    tiny, tmp_path, capsys, monkeypatch, option, name, said
):
    monkeypatch.setattr(loading, "load", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()

    assert f"{option[2:]} is {name}; {said}" in refused(
        capsys, "tune", "--model", tiny, option, name
    )


def test_a_profile_that_is_none_is_refused(tiny, tmp_path, capsys):
    said = refused(capsys, "generate", "--model", tiny, "--prompt", "x", "--profile", "none.json")

    assert "none.json cannot be read as a profile" in said
