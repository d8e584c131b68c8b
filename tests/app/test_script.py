"""app.py and what it serves with."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from zcache.app import theme

ROOT = Path(__file__).parents[2]


def test_spaces_is_imported_first():
    body = ast.parse((ROOT / "app.py").read_text(encoding="utf-8")).body

    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Import) and first.names[0].name == "spaces"


def test_exactly_one_function_is_sent_to_the_gpu():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "zcache").rglob("*.py")]

    assert sum(source.count("@spaces.GPU") for source in sources) == 1


def test_the_script_can_be_imported_without_serving():
    command = [sys.executable, "-c", "import app; print(type(app.demo).__name__)"]

    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.strip().endswith("Blocks")


@pytest.mark.parametrize("installed", [True, False])
def test_the_endpoints_are_tools_for_agents_only_where_the_extra_is_installed(
    monkeypatch, installed
):
    monkeypatch.setattr(theme, "find_spec", lambda name: object() if installed else None)

    assert theme.launch_options()["mcp_server"] is installed
