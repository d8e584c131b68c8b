"""Arrows point one way, also inside functions and under TYPE_CHECKING: the method on the ground, then
caching and models beside each other, then measure, then evaluation and the app, the commands on top."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zcache"
# What each package may import besides itself and `errors`.
BELOW = {
    "method": set(),
    "caching": {"method"},
    "models": {"method"},
    "measure": {"method", "caching", "models"},
    "evaluation": {"method", "caching", "models", "measure"},
    "app": {"method", "caching", "models", "measure"},
    "commands": {"method", "caching", "models", "measure", "evaluation", "app"},
}
VERSION = "__version__"  # the one name that everybody may take of the package itself
BESIDE = {"__init__.py", "__main__.py", "errors.py", "checkpoints", "data"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


def imports(text: str, name: str, is_package: bool) -> set[str]:
    """Absolute names of what a module imports anywhere in its text; of zcache as modules, not names."""
    found = set()
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in MODULES or alias.name == VERSION else source)
    return found


def imported_by(path: Path) -> set[str]:
    return imports(path.read_text(), module(path), path.name == "__init__.py")


def forbidden(name: str, targets: set[str]) -> set[str]:
    """Those of `targets` that the module `name` may not import."""
    room = name.split(".")[1] if "." in name else ""
    wrong = set()
    for target in targets:
        parts = target.split(".")
        if parts[0] != "zcache" or room not in BELOW:
            continue
        other = parts[1] if len(parts) > 1 else ""
        allowed = {room, "errors", VERSION} | BELOW[room]
        if other not in allowed:
            wrong.add(target)
    return wrong


def test_the_listing_shows_the_seven_packages() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert found - {"README.md", "py.typed"} == set(BELOW) | BESIDE


@pytest.mark.parametrize("path", FILES, ids=module)
def test_arrows_point_down(path: Path) -> None:
    assert forbidden(module(path), imported_by(path)) == set()


@pytest.mark.parametrize(
    "text",
    [
        "from ..app.errors import public",
        "def f():\n    from ..app import runs",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zcache.app import runs",
        "import zcache.app",
        "from .. import enabled",
    ],
)
def test_an_arrow_up_is_noticed(text: str) -> None:
    assert forbidden("zcache.evaluation.store", imports(text, "zcache.evaluation.store", False))


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that reach themselves."""
    found = []
    for start in arrows:
        seen: set[str] = set()
        waiting = list(arrows[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += arrows.get(name, ())
        if start in seen:
            found.append(start)
    return found


def test_there_is_no_import_circle() -> None:
    arrows = {module(path): imported_by(path) & MODULES for path in FILES}
    assert circles(arrows) == []
    arrows["zcache.method.weights"] = {"zcache.caching.run"}
    assert "zcache.caching.run" in circles(arrows)


@pytest.mark.parametrize("path", sorted((PACKAGE / "method").glob("*.py")), ids=module)
def test_the_method_knows_no_tensors(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_by(path)}
    assert not roots & {"torch", "diffusers", "numpy"}


HEAVY = ("torch", "numpy", "diffusers", "transformers", "gradio", "matplotlib", "PIL")


def heavy(code: str) -> list[str]:
    """Which heavy packages this code imports, in a process of its own."""
    shown = f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return ast.literal_eval(ran.stderr.splitlines()[-1])


def command(*arguments: str) -> str:
    return (
        f"from zcache.commands import main\ntry: main({list(arguments)})\nexcept SystemExit: pass"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import zcache; zcache.ZCacheConfig(); zcache.bases.names(); zcache.Profile",
        command("plan", "--interval", "8"),
        command("plan", "--interval", "0"),
        command("--help"),
        command("flops", "--help"),
        command(),
    ],
    ids=["import", "plan", "refused", "help", "help of a command", "bare"],
)
def test_what_needs_no_model_imports_no_library(code: str) -> None:
    assert heavy(code) == []


def test_the_cache_itself_imports_torch_and_nothing_else_heavy() -> None:
    assert set(heavy("from zcache import ZCache, adapters, disable, enable, enabled")) <= {
        "torch",
        "numpy",
    }


def test_every_public_name_is_there() -> None:
    import zcache

    for name in zcache.__all__:
        assert getattr(zcache, name) is not None
        assert name in dir(zcache)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zcache.nothing


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_are_neither_long_nor_crumbs(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 300
    assert lines >= 10 or path.name in ("__init__.py", "__main__.py")
