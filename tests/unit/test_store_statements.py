"""The statements of the store: each is a whole constant, and `python -m ava.store.statements` prints it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ava.store
from ava.store import statements
from ava.store.engine.statement import Statement

_KEYWORDS = ("DO", "DELETE", "INSERT", "SELECT", "UPDATE", "WITH")
_STORE = Path(ava.store.__file__).parent
#: `kept_transactions` begins and ends a transaction.
_OTHERS = ("kept_transactions",)
_MODULES = [path for path in _STORE.rglob("*.py") if "migrations" not in path.parts and path.stem not in _OTHERS]


def _print(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ava.store.statements", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "statement"), statements.all_statements().items())
def test_every_statement_is_whole(name: str, statement: str) -> None:
    assert statement.split(maxsplit=1)[0] in _KEYWORDS
    assert "{" not in statement.replace("'{}'", "")
    assert statement.count("(") == statement.count(")")


def test_the_statements_of_a_run_are_printed_by_name() -> None:
    names = _print("--list").stdout.split()
    assert names == list(statements.all_statements())
    assert {"jobs.runs.claim", "jobs.runs.end_and_claim", "jobs.reads.deep_page_of_worker"} <= set(names)
    printed = _print("jobs.runs.end_and_claim").stdout
    assert printed.startswith("-- jobs.runs.end_and_claim\nWITH ended AS (\n    UPDATE jobs SET\n")
    assert printed.count("-- ") == 1
    assert "-- jobs.runs.claim\n" in _print("jobs.runs").stdout


def test_an_unknown_name_is_refused() -> None:
    refused = _print("jobs.runs.no_such")
    assert refused.returncode == 2
    assert "--list" in refused.stderr


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_STORE)))
def test_only_named_statements_are_executed(path: Path) -> None:
    module = ".".join(("ava.store", *path.relative_to(_STORE).with_suffix("").parts)).removesuffix(".__init__")
    constants = vars(importlib.import_module(module))
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "exec_driver_sql":
            statement = call.args[0]
            assert isinstance(statement, ast.Name), ast.unparse(call)
            # `statement` is one of two constants, chosen by a filter.
            assert statement.id == "statement" or isinstance(constants[statement.id], Statement), ast.unparse(call)
