"""What the README and the packaging promise."""

import ast
import re
import sys
from pathlib import Path

import pytest

import zcache

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def front_matter() -> dict[str, str]:
    head = README.split("---\n")[1]
    return dict(line.split(": ", 1) for line in head.splitlines())


@pytest.mark.parametrize(
    "command",
    [
        "python -m pip install -r requirements.txt && python app.py",
        'python -m pip install -r requirements.txt -e ".[test]" && python -m pytest',
    ],
)
def test_the_two_commands_are_in_the_readme(command):
    assert f"\n{command}\n" in README


def test_ci_runs_the_readmes_test_command():
    command = 'python -m pip install -r requirements.txt -e ".[test]" && python -m pytest'

    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")


def test_the_front_matter_is_what_a_space_accepts():
    settings = front_matter()

    assert settings["sdk"] == "gradio"
    assert (ROOT / settings["app_file"]).is_file()
    assert len(settings["short_description"]) <= 60
    assert settings["license"] == "apache-2.0"


def test_the_walk_in_the_readme_is_the_real_one():
    plan = zcache.ZCacheConfig(interval=4).plan(13)

    assert f"\n{plan}\n" in README


def test_every_knob_is_in_the_table():
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", README, re.MULTILINE))

    for name in zcache.ZCacheConfig.__dataclass_fields__:
        assert f"`{name}`" in first_cells


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_library_snippet_uses_public_names():
    (snippet,) = (block for block in blocks("python") if "import zcache" in block)

    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "zcache":
            assert node.attr in zcache.__all__


def test_the_package_and_the_app_ask_for_the_same_libraries():
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()

    assert set(project["dependencies"]) <= set(lines)
    assert set(project["optional-dependencies"]["app"]) <= set(lines)


def test_the_licence_is_the_full_text():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")

    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
