"""Validate the input of a job.

Every refusal is a ValueError that names the field and the valid values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: A job's input as its handler receives it: parsed JSON.
Input = Mapping[str, Any]

_MISSING = object()
# Control characters are meaningless in strings that are passed on, and lone surrogates cannot be encoded.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def refuse_unknown(given: Input, *names: str) -> None:
    """Refuse a field that the handler does not read, because it is probably a typing error."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"input.{_shown(unknown[0])} is unknown; this worker takes {', '.join(names)}")


def string(given: Input, name: str, *, example: str, longest: int = 1_000, pattern: str = r".*") -> str:
    """Return a required string that is not blank and matches the whole pattern."""
    if given.get(name) is None:
        raise ValueError(f"input.{name} is missing; it must be a string such as {example}")
    value = optional_string(given, name, longest=longest)
    if not value or not re.fullmatch(pattern, value, re.DOTALL):
        raise ValueError(f"input.{name} must be a string such as {example}")
    return value


def optional_string(given: Input, name: str, *, default: str = "", longest: int = 1_000) -> str:
    """Return a string without surrounding white space; the default if the field is missing or null."""
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"input.{name} must be a string, not {_kind(value)}")
    if len(value) > longest:
        raise ValueError(f"input.{name} has {len(value)} characters; the maximum is {longest}")
    if _UNPRINTABLE.search(value):
        raise ValueError(f"input.{name} contains a NUL, another control character or half a character")
    return value.strip()


def number(given: Input, name: str, *, least: float, most: float, default: float | None = None) -> float:
    """Return a finite number within bounds; without a default the field is required."""
    value = given.get(name, _MISSING)
    if value is _MISSING and default is not None:
        return default
    if not _is_number(value) or not least <= value <= most:
        raise ValueError(f"input.{name} must be a number from {least:g} to {most:g}{_instead(value)}")
    return float(value)


def whole_number(given: Input, name: str, *, least: int, most: int, default: int) -> int:
    """Return a whole number within bounds; 3.0 is valid."""
    value = given.get(name, default)
    if not _is_number(value) or not least <= value <= most or value != int(value):
        raise ValueError(f"input.{name} must be a whole number from {least} to {most}{_instead(value)}")
    return int(value)


def _is_number(value: Any) -> bool:
    # In Python a boolean is an int.
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _instead(value: Any) -> str:
    return "" if value is _MISSING or _is_number(value) else f", not {_kind(value)}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN or infinity"
    return _KINDS.get(type(value), "another type")


_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _shown(name: object) -> str:
    return ascii(str(name)[:60]).strip("'\"")
