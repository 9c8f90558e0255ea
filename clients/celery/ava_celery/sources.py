"""Find in a task's source that it waits for another task, or adds one to its chord."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

from celery.app.task import Task

from ava_celery import workers

_RESULTS = frozenset({"delay", "apply_async", "send_task", "AsyncResult", "GroupResult"})
_WAITS = frozenset({"get", "join", "join_native", "iter_native", "wait", "wait_for", "collect"})
#: Methods of a task that add another one to its chord.
_ADDITIONS = frozenset({"replace_in_chord", "add_to_chord"})


def faults(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the calls in a task's source that cannot work here, with the fix; nothing if there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(workers.body_of(task)))))
    except (OSError, TypeError, SyntaxError):
        return
    results = set(_names_of_results(tree))
    itself = _first_parameter(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, method = node.func.value, node.func.attr
        if method in _WAITS and (_is_result(owner) or (isinstance(owner, ast.Name) and owner.id in results)):
            yield (
                f"{ast.unparse(node.func)}() waits for a task inside a task, which holds a process",
                "use a chain or a chord, or declare it with ava.worker and use env.trigger and env.wait",
            )
        elif method in _ADDITIONS and isinstance(owner, ast.Name) and owner.id == itself:
            yield f"{ast.unparse(node.func)}() changes a chord that has begun", "use self.replace"


def _names_of_results(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value and _is_result(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_result(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Call):
        # group(…)(), chord(…)(…), chain(…)()
        called = called.func
        return isinstance(called, ast.Name | ast.Attribute) and _name(called) in ("group", "chord", "chain")
    return isinstance(called, ast.Name | ast.Attribute) and _name(called) in _RESULTS


def _name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _first_parameter(tree: ast.Module) -> str | None:
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
    return function.args.args[0].arg if function is not None and function.args.args else None
