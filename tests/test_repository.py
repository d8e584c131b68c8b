"""What the README and the packaging promise."""

import ast
import re
import sys
from pathlib import Path

import pytest

import zcache

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOM_PAGES = [
    *sorted(ROOT.glob("zcache/**/README.md")),
    *sorted(ROOT.glob("examples/**/README.md")),
]
PAGES = [ROOT / "README.md", *ROOM_PAGES, *sorted(ROOT.glob(".github/*.md"))]


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


def test_the_library_snippets_use_public_names():
    snippets = [block for block in blocks("python") if "import zcache" in block]
    assert len(snippets) == 2

    for node in (node for snippet in snippets for node in ast.walk(ast.parse(snippet))):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "zcache":
            assert node.attr in zcache.__all__


def test_the_readme_is_a_front_page():
    lines = README.splitlines()
    first_screen = "\n".join(lines[: lines.index("## What is here")])

    assert len(lines) < 250
    for what in (
        "zcache.enable(pipe)",
        "python app.py",
        "python -m pytest",
        "Not run yet",
        "CITATION",
        "examples/screenshots/three.webp",
    ):
        assert what in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")

    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_is_in_the_file_that_its_link_names(page):
    for name, target in re.findall(
        r"\[`([\w.]+)`\]\(([^)]+\.py)\)", page.read_text(encoding="utf-8")
    ):
        code = (page.parent / target).read_text(encoding="utf-8")
        last = name.split(".")[-1]
        assert re.search(
            rf"^\s*(def|class) {last}\b|^\s*{last}\b.* = |^\s*{last}: ", code, re.MULTILINE
        ), f"{name} is not in {target}"


@pytest.mark.parametrize("page", ROOM_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_is_linked_from_the_readme(page):
    assert f"]({page.relative_to(ROOT)})" in README


def test_nobody_is_told_to_install_a_stranger():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'name = "zcache-diffusers"' in project

    for path in [*PAGES, *(ROOT / "zcache").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        assert not re.search(
            r"pip install (-\S+ )*['\"]?zcache\b(?!-diffusers)", path.read_text(encoding="utf-8")
        ), path


def test_the_paper_can_be_cited():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")

    assert f"version: {zcache.__version__}\n" in citation
    assert "Accelerating Diffusion Transformers via Self-Reflection" in citation


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


def test_ci_asks_the_linters_before_the_tests():
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    tests = next(i for i, line in enumerate(steps) if line.endswith("python -m pytest"))

    for linter in ("ruff check .", "ruff format --check .", "mypy"):
        assert steps.index(linter) < tests


@pytest.mark.parametrize(
    "workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name
)
def test_actions_are_pinned_and_the_token_is_one_steps(workflow):
    text = workflow.read_text(encoding="utf-8")

    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)
    for step in text.split("\n      - ")[1:]:
        assert not ("secrets." in step and "pip install" in step)
    assert "secrets." not in text.split("    steps:")[0]
