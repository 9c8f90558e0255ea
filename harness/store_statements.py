"""Which of the store's statements a message to PostgreSQL has, and which tables each writes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import cache

import ava.store
from ava.store.engine.prepared import Prepared
from ava.store.statements import all_statements

#: What the name of a statement begins with that is not the store's.
UNKNOWN = "unknown:"
_WRITE = re.compile(
    r"(?<!FOR )(?<!DO )\bUPDATE\s+(?!SET\b|OF\b|SKIP\b|NOWAIT\b)(\w+)|\bINSERT\s+INTO\s+(\w+)|\bDELETE\s+FROM\s+(\w+)"
)
_PARAMETER = re.compile(r"%\(\w+\)s")
_EXECUTE = re.compile(r"\bEXECUTE (ava_\w+)")


def written_tables(statement: str) -> set[str]:
    """Returns the tables that a statement writes."""
    return {name for found in _WRITE.findall(statement) for name in found if name}


@cache
def writing_statements() -> Mapping[str, str]:
    """Returns the store's statements that write, by their names."""
    return {name: sql for name, sql in all_statements().items() if written_tables(sql)}


@cache
def _prepared() -> Mapping[str, str]:
    """Returns the names of the statements that connections prepare, by the names that they have there."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(ava.store.__path__, "ava.store."):
        if not module.name.startswith("ava.store.migrations"):
            for constant, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Prepared):
                    name = f"{module.name.removeprefix('ava.store.')}.{constant.strip('_').lower()}"
                    found.setdefault(value.execute.split()[1], name)
    return found


@cache
def _pieces() -> Sequence[tuple[str, Sequence[str]]]:
    """Returns the parts of each writing statement between its parameters."""
    return [
        (name, [part.replace("%%", "%") for part in _PARAMETER.split(sql) if part.strip()])
        for name, sql in writing_statements().items()
    ]


def names_of(message: str) -> list[str]:
    """Returns the names of the writing statements that a message sends, with their parameters filled in."""
    if message.startswith(("PREPARE ", "DEALLOCATE ")):
        return []
    executed = [_prepared()[name] for name in _EXECUTE.findall(message) if name in _prepared()]
    found = [name for name in executed if name in writing_statements()]
    if not executed and _WRITE.search(message):
        found = [name for name, pieces in _pieces() if _has(message, pieces)]
        return _without_aliases(found) or [f"{UNKNOWN} {' '.join(message.split())[:60]}"]
    return found


def _has(message: str, pieces: Sequence[str]) -> bool:
    at = 0
    for piece in pieces:
        at = message.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _without_aliases(names: Sequence[str]) -> list[str]:
    """Returns the names without those of statements that are imported from another module, or part of another."""
    sql_by_name = writing_statements()
    distinct: list[str] = []
    for name in names:
        sql = sql_by_name[name]
        if any(sql_by_name[other] == sql for other in distinct):
            continue
        if any(other != name and sql in sql_by_name[other] and sql != sql_by_name[other] for other in names):
            continue
        distinct.append(name)
    return distinct
