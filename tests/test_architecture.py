"""Arrows point one way: pure core, tensor core, diffusers integration, tools, app."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "zcache"
LEVELS = [
    {"errors"},
    {"registry"},
    {"weights", "bases", "teacache"},
    {"schedule"},
    {"config"},
    {"presets"},
    {"interception", "blend", "outputs", "substitution", "guidance"},
    {"anchors", "surgery", "adapters", "sampler", "report"},
    {"granularity"},
    {"replay"},
    {"run"},
    {"cache"},
    {"__init__"},
    {
        "architectures",
        "environment",
        "files",
        "meter",
        "metrics",
        "quiet",
        "request",
        "clock",
        "folder",
    },
    {"flops", "hub", "known", "peers", "plots", "preview", "probes", "quality", "summary"},
    {"bench", "compare", "costs", "models", "rivals"},
    {"baselines"},
    {"cost_commands", "evidence_commands"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
PURE = {
    "errors",
    "registry",
    "weights",
    "bases",
    "teacache",
    "schedule",
    "config",
    "presets",
    "interception",
}


def imports(path: Path) -> set[str]:
    """Modules a file imports when it is imported itself; relative ones begin with a dot."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {f".{name.split('.')[0]}" for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_the_core_imports_only_lower_levels(name: str) -> None:
    for module in imports(PACKAGE / f"{name}.py"):
        if module.startswith("."):
            # `from . import enabled` takes a public name of the package itself.
            assert LEVEL.get(module[1:], LEVEL["__init__"]) < LEVEL[name], (
                f"{name} imports {module}"
            )


def test_every_module_has_its_level() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(LEVEL)


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_pure_core_knows_no_tensors(name: str) -> None:
    assert not imports(PACKAGE / f"{name}.py") & {"torch", "diffusers", "numpy"}


def test_importing_zcache_is_light() -> None:
    code = (
        "import sys, zcache; "
        "print([m for m in ('gradio', 'diffusers', 'matplotlib', 'PIL', 'transformers') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320
