"""Break the code on purpose, one place at a time, and see whether the tests notice.

    python -m tests.mutate zcache/method --tests tests/method --sample 60 --out mutants.json
    python -m tests.mutate zcache/app/plain_runs.py --tests tests/app/test_plain_runs.py --sample 25
    python -m tests.mutate zcache/caching --tests tests/caching tests/method --sample 100 --limit 600

`PYTEST_ADDOPTS=--noconftest` before it saves loading diffusers, where the tests need no fixture.
The last is the caching core: a mutant there takes as long as the tests named; give those of the laws
first (`tests/caching/test_run.py tests/caching/test_reflection.py`), they notice most.

A mutant is one change of the syntax tree: a comparison, a condition, an operator or a constant turned
into another, a statement left out. Docstrings, messages of exceptions, annotations and imports are let
alone. Every mutant is tried in a temporary copy of the repository, which stays as it is. A mutant that
runs into the time limit counts as noticed. The same seed draws the same mutants."""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("zcache", "tests", "pyproject.toml", "README.md", "examples", "app.py")
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}

LEFT_OUT = (ast.Assign, ast.AugAssign, ast.Delete, ast.Continue, ast.Break)


@dataclass
class Mutant:
    """One change: `noticed` is None before it is tried."""

    file: str
    line: int
    was: str
    became: str
    noticed: bool | None = None
    how: str = ""


def changes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None]]:
    """Where a node hangs and what it may become: parent, new node, field, index."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.Raise | ast.JoinedStr) or not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            yield from ((tree, new, field, index) for new in _mutations(node))
            yield from changes(node)


def _mutations(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            operators = list(node.ops)
            operators[index] = COMPARISONS[type(operator)]()
            yield ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value)
    elif isinstance(node, ast.If | ast.While):
        test = ast.UnaryOp(ast.Not(), node.test)
        yield type(node)(test=test, body=node.body, orelse=node.orelse)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.Return) and node.value is not None:
        if not isinstance(node.value, ast.Constant) or node.value.value is not None:
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, LEFT_OUT) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Yield)
    ):
        yield ast.Pass()


def _constants(value: object) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
    elif isinstance(value, str) and value:
        yield ast.Constant(f"{value}-")


def mutants(path: Path) -> list[tuple[Mutant, str]]:
    """Every mutant of a file, with the text of the file then."""
    text = path.read_text(encoding="utf-8")
    found = []
    tree = ast.parse(text)
    for parent, new, field, index in list(changes(tree)):
        value = getattr(parent, field)
        old = value if index is None else value[index]
        line = getattr(old, "lineno", 0)
        _hang(parent, field, index, new)
        mutated = ast.unparse(ast.fix_missing_locations(tree))
        _hang(parent, field, index, old)
        compile(mutated, str(path), "exec")
        shown = (ast.unparse(each).splitlines()[0][:90] for each in (old, new))
        found.append((Mutant(str(path.relative_to(ROOT)), line, *shown), mutated))
    return found


def _hang(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def try_out(
    drawn: Sequence[tuple[Mutant, str]], tests: Sequence[str], limit: float
) -> Iterator[Mutant]:
    """Run the tests against each mutant in a copy of the repository; yields as they are done."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        if not _passes(copy, tests, 10 * limit)[0]:
            raise SystemExit("the tests fail without any mutant")
        for mutant, text in drawn:
            path = copy / mutant.file
            original = path.read_text(encoding="utf-8")
            path.write_text(text, encoding="utf-8")
            passed, mutant.how = _passes(copy, tests, limit)
            mutant.noticed = not passed
            path.write_text(original, encoding="utf-8")
            yield mutant


def _passes(copy: Path, tests: Sequence[str], limit: float) -> tuple[bool, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(
            [*command, *tests], cwd=copy, env=environment, capture_output=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return False, "time limit"
    lines = ran.stdout.decode(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return ran.returncode == 0, failed[0][:160] if failed else f"exit {ran.returncode}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="+", type=Path, help="files or folders to mutate")
    parser.add_argument("--tests", nargs="+", required=True, help="paths that should notice")
    parser.add_argument("--sample", type=int, help="how many mutants (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a mutant")
    parser.add_argument("--out", type=Path, help="JSON of every mutant tried")
    options = parser.parse_args(arguments)
    given = [path.resolve() for path in options.modules]
    files = [file for path in given for file in ([path] if path.is_file() else path.rglob("*.py"))]
    every = [mutant for file in sorted(files) for mutant in mutants(file)]
    drawn = random.Random(options.seed).sample(every, min(options.sample or len(every), len(every)))
    done = []
    for mutant in try_out(drawn, options.tests, options.limit):
        done.append(mutant)
        word = "noticed " if mutant.noticed else "SURVIVED"
        print(f"{word} {mutant.file}:{mutant.line}  {mutant.was}  ->  {mutant.became}", flush=True)
        if options.out:
            options.out.write_text(json.dumps([asdict(each) for each in done], indent=1) + "\n")
    noticed = sum(bool(mutant.noticed) for mutant in done)
    print(f"{noticed} of {len(done)} noticed ({noticed / max(1, len(done)):.0%}), of {len(every)}")


if __name__ == "__main__":
    main()
