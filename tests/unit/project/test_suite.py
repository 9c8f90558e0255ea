"""Which tests a run takes, in which order, and what it says of those that it leaves out."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import ROOT
from tests import quick

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_the_chart(n):
    pytest.skip("helm or Go is needed to render the chart")

def test_the_client():
    pytest.skip("npm is not installed")

def test_the_rest():
    pass
"""


@pytest.mark.parametrize("testers", ["0", "1"])
def test_what_a_run_leaves_out_is_in_its_closing_lines(tmp_path: Path, testers: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    # No other plugin is needed, and their imports take a second.
    options = ["-q", "-p", "no:cacheprovider", "-p", "xdist", "-p", "tests.closing_lines", "--numprocesses", testers]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "--rootdir", tmp_path, *options, tmp_path / "test_it.py"]
    printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    _, heading, rest = printed.partition(" 4 tests left out ")
    assert heading, printed
    lines = rest.splitlines()[1:]
    assert lines[:2] == ["   3  helm or Go is needed to render the chart", "   1  npm is not installed"]
    assert "1 passed, 4 skipped" in lines[-1]


def test_every_file_that_is_not_quick_exists() -> None:
    assert [name for name in quick.LONG if not (ROOT / "tests" / name).exists()] == []


def test_each_long_test_names_a_test_of_make_test_that_keeps_its_promise() -> None:
    kept_by: list[tuple[str, str]] = []
    always: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
        marks = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == _LONG]
        named = [ast.literal_eval(node.keywords[0].value) for node in ast.walk(tree) if _is_long(node, {})]
        assert len(named) == len(marks), f"{name}: a long test without kept_by"
        kept_by += [(name, each) for each in named]
        marked = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        whole = marked.pop("pytestmark", None)
        is_whole = whole is not None and any(_is_long(node, marked) for node in ast.walk(whole))
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            if not is_whole and not any(_is_long(node, marked) for node in function.decorator_list):
                always.add(f"{name}::{function.name}")
    assert kept_by
    assert [each for each in kept_by if each[1] not in always] == []


#: How a test is marked as long.
_LONG = "pytest.mark.long"


def _is_long(node: ast.AST, marked: dict[str, ast.expr]) -> bool:
    """Returns whether an expression is that mark, or the name of one."""
    if isinstance(node, ast.Name):
        return node.id in marked and _is_long(marked[node.id], {})
    return isinstance(node, ast.Call) and ast.unparse(node.func) == _LONG


FLAKY = """
import random
import pytest

@pytest.mark.parametrize("n", ["a - b"])
def test_now_and_then(n):
    assert random.random() < 0, "a ] - b"

@pytest.fixture
def server():
    raise OSError("no port is free")

def test_with_a_server(server):
    pass

def test_always():
    pass
"""


def test_flaky_lists_each_test_that_failed_with_its_seeds(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FLAKY)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -rfE\n")
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tools.flaky", "--rounds", "2", "-p", "pytest_randomly", "test_it.py"]
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    seeds = re.findall(r"^round . of 2, seed (\d+): 1 failed, 1 passed, 1 error", run.stdout, flags=re.MULTILINE)
    assert len(set(seeds)) == 2
    assert run.stdout.splitlines()[2:] == [
        f"test_it.py::{test}: failed in 2 of 2 rounds, seeds {', '.join(seeds)}"
        for test in ("test_now_and_then[a - b]", "test_with_a_server")
    ]
    assert {path.stem for path in (tmp_path / "build/flaky").iterdir()} == set(seeds)
