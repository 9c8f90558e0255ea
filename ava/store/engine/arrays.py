"""Array literals, which PostgreSQL reads much faster than the expressions that the driver makes of a list.

See "Array Input and Output Syntax" in the PostgreSQL manual.
"""

from __future__ import annotations

from collections.abc import Iterable


def array(elements: Iterable[str]) -> str:
    """Returns elements as the literal of an array; numbers, booleans and ids need no quotes."""
    return "{" + ",".join(elements) + "}"


def texts(values: Iterable[object]) -> str:
    """Returns values as the literal of an array, each by its text, which PostgreSQL reads as any type; None is null."""
    return array(["NULL" if value is None else _quoted(str(value)) for value in values])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
