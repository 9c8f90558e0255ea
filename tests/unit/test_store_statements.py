"""The statements of the store: each is a whole constant, and `python -m ava.store.statements` prints it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ava.store
from ava.store import statements
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement

_KEYWORDS = ("DO", "DELETE", "INSERT", "SELECT", "UPDATE", "WITH")
_STORE = Path(ava.store.__file__).parent
#: They send no statement of a table: the ends of a transaction, LISTEN, and what a `Prepared` or a `Deletion` holds.
_OTHERS = ("transactions", "prepared", "statement", "notices")
_MODULES = [path for path in _STORE.rglob("*.py") if "migrations" not in path.parts and path.stem not in _OTHERS]


def _print(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ava.store.statements", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_statement_is_whole() -> None:
    found = statements.all_statements()
    assert len(found) > 400
    for name, statement in found.items():
        assert statement.split(maxsplit=1)[0] in _KEYWORDS, name
        assert "{" not in statement.replace("'{}'", ""), name
        assert statement.count("(") == statement.count(")"), name


def test_the_statements_of_a_run_are_printed_by_name() -> None:
    names = _print("--list").stdout.split()
    assert names == list(statements.all_statements())
    assert {"jobs.transitions.claim.claim", "jobs.transitions.end.end_and_claim", "jobs.reads.lists.deep_page"} <= set(
        names
    )
    printed = _print("jobs.transitions.end.end_and_claim").stdout
    assert printed.startswith("-- jobs.transitions.end.end_and_claim\nWITH ended AS (\n    UPDATE jobs AS j SET status")
    assert printed.count("-- ") == 1
    assert "-- jobs.transitions.claim.claim\n" in _print("jobs.transitions.claim").stdout


def test_an_unknown_name_is_refused() -> None:
    refused = _print("jobs.runs.no_such")
    assert refused.returncode == 2
    assert "--list" in refused.stderr


def _calls() -> list[tuple[Path, ast.Call, ast.FunctionDef]]:
    """Returns the calls of the store that execute a statement, each with its module and function."""
    return [
        (path, call, function)
        for path in _MODULES
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and _executes(call.func)
    ]


def _executes(called: ast.Attribute) -> bool:
    is_constant = isinstance(called.value, ast.Name) and called.value.id.strip("_").isupper()
    return called.attr in ("exec_driver_sql", "execute") or (called.attr == "run" and is_constant)


def _named(call: ast.Call) -> ast.expr:
    assert isinstance(call.func, ast.Attribute)
    return call.func.value if call.func.attr == "run" else call.args[0]


def test_only_named_statements_are_executed() -> None:
    calls = _calls()
    assert len(calls) > 200
    for path, call, function in calls:
        module = ".".join(("ava.store", *path.relative_to(_STORE).with_suffix("").parts)).removesuffix(".__init__")
        named = _named(call)
        assert isinstance(named, ast.Name), f"{module}: {ast.unparse(call)}"
        for constant in _constants(named, function):
            value = vars(importlib.import_module(module))[constant]
            assert _is_statement(value), f"{module}: {ast.unparse(call)}: {constant}"


def _constants(named: ast.Name, function: ast.FunctionDef) -> list[str]:
    """Returns the constants that a name stands for; a variable stands for all those that are assigned to it.

    Of a parameter that is a `Statement` mypy proves that callers give one.
    """
    if named.id.strip("_").isupper():
        return [named.id]
    if any(each.arg == named.id and ast.unparse(each.annotation or each) == "Statement" for each in function.args.args):
        return []
    values = [
        node.iter if isinstance(node, ast.For | ast.comprehension) else node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.For | ast.comprehension) and named.id in _targets(node)
    ]
    found = [name for value in values for name in _names(value) if name.strip("_").isupper()]
    # An attribute or a function may give a constant of its own, but no text is written here.
    assert values, f"{function.name}: {named.id} is not assigned here"
    assert found or not any(_is_string(each) for value in values for each in ast.walk(value)), function.name
    return found


def _is_string(node: ast.AST) -> bool:
    is_string = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_string or isinstance(node, ast.JoinedStr | ast.BinOp)


def _targets(node: ast.Assign | ast.For | ast.comprehension) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}


def _names(value: ast.expr) -> list[str]:
    if isinstance(value, ast.IfExp):
        return _names(value.body) + _names(value.orelse)
    return [each.id for each in ast.walk(value) if isinstance(each, ast.Name)]


def _is_statement(value: object) -> bool:
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        return all(map(_is_statement, value))
    return isinstance(value, Statement | Prepared)
