"""Paths into a JSON value: `data.pull_request.number`, or a list of names where a name holds a dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: The most names of a path.
MAX_NAMES = 32
#: What `find` returns where nothing is.
MISSING: Any = object()


def split(path: object) -> tuple[str, ...] | None:
    """Returns the names of a path; None if the value is no path."""
    names = path.split(".") if isinstance(path, str) else path
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_NAMES:
        return None
    return tuple(names) if all(isinstance(name, str) and name for name in names) else None


def find(value: Any, names: Sequence[str]) -> Any:
    """Returns the value at a path; `MISSING` if there is none. A number is a position in a list, from 0."""
    for name in names:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10:
            position = int(name)
            value = value[position] if position < len(value) else MISSING
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value
