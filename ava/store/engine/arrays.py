"""Array literals: PostgreSQL parses them much faster than the driver's expressions for lists.

See "Array Input and Output Syntax" in the PostgreSQL manual.
"""

from __future__ import annotations

from collections.abc import Iterable


def array(elements: Iterable[str]) -> str:
    """Return elements as an array literal. They must not need quotes: numbers, booleans, ids."""
    return "{" + ",".join(elements) + "}"


def texts(values: Iterable[object]) -> str:
    """Return values as an array literal of quoted strings, which PostgreSQL casts to any type; None is null."""
    return array(["NULL" if value is None else _quoted(str(value)) for value in values])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
