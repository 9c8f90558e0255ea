"""Templates of inputs: JSON in which `{"$get": "data.number", "default": 0}` is replaced by a value of the event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain.events.event import MAX_PATH_NAMES, MISSING, find_at_path, split_path
from ava.domain.limits.table import PATTERN_LEVELS, PATTERN_RULES

FIELDS = (
    "id", "source_id", "type", "source", "subject", "time", "data", "extensions", "headers", "created_at",
)  # fmt: skip
MAX_LEVELS = PATTERN_LEVELS.value
MAX_PLACEHOLDERS = PATTERN_RULES.value
_GET, _DEFAULT = "$get", "default"


class TemplateError(ValueError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class TemplateTooLarge(Exception):
    """The filled template is too large."""


@dataclass(frozen=True, slots=True)
class _Path:
    names: tuple[str, ...]
    #: The JSON that replaces a missing value.
    default: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: JSON in pieces, with placeholders between them."""

    _pieces: tuple[str | _Path, ...]

    def fill(self, event: dict[str, Any], *, max_bytes: int) -> str:
        """Return the filled template as ASCII JSON. A missing value without default is null.

        Raise `TemplateTooLarge` if the result exceeds `max_bytes` in UTF-8.
        """
        known: dict[_Path, str] = {}
        size = 0
        parts: list[str] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                part = piece
            else:
                part = known[piece] if piece in known else known.setdefault(piece, _value(piece, event))
            parts.append(part)
            # ASCII JSON has up to three times as many characters as bytes in UTF-8.
            size += len(part)
            if size > 3 * max_bytes:
                raise TemplateTooLarge
        filled = "".join(parts)
        if len(filled) > max_bytes and utf8_bytes(filled) > max_bytes:
            raise TemplateTooLarge
        return filled


def utf8_bytes(json_string: str) -> int:
    """Return the size of ASCII JSON as compact UTF-8, in bytes."""
    compact = json.dumps(json.loads(json_string), ensure_ascii=False, separators=(",", ":"))
    return len(compact.encode("utf-8", "surrogatepass"))


def _value(path: _Path, event: dict[str, Any]) -> str:
    found = find_at_path(event, path.names)
    return path.default if found is MISSING else _json(found)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def compile_template(given: Any) -> Template:
    """Compile a template. Raise `TemplateError` with the path of the fault."""
    if not isinstance(given, dict):
        raise TemplateError("", "It must be an object.")
    pieces: list[str | _Path] = []
    _compile("", given, pieces, level=1)
    if sum(isinstance(piece, _Path) for piece in pieces) > MAX_PLACEHOLDERS:
        sentence = f"It has too many placeholders; at most {MAX_PLACEHOLDERS} are accepted."
        raise TemplateError("", PATTERN_RULES.message(sentence))
    return Template(tuple(_joined(pieces)))


def _joined(pieces: Sequence[str | _Path]) -> list[str | _Path]:
    joined: list[str | _Path] = []
    for piece in pieces:
        if joined and isinstance(piece, str) and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _compile(path: str, given: Any, pieces: list[str | _Path], *, level: int) -> None:
    if level > MAX_LEVELS:
        sentence = f"It nests too deep; at most {MAX_LEVELS} levels are accepted."
        raise TemplateError(path, PATTERN_LEVELS.message(sentence))
    if isinstance(given, dict) and _GET in given:
        pieces.append(_path_of(path, given))
    elif isinstance(given, dict):
        _compile_object(path, given, pieces, level)
    elif isinstance(given, list):
        pieces.append("[")
        for index, each in enumerate(given):
            pieces.append("," if index else "")
            _compile(f"{path}[{index}]", each, pieces, level=level + 1)
        pieces.append("]")
    else:
        pieces.append(_json(given))


def _compile_object(path: str, given: dict[str, Any], pieces: list[str | _Path], level: int) -> None:
    pieces.append("{")
    for index, (name, each) in enumerate(given.items()):
        pieces.append(f"{',' if index else ''}{_json(name)}:")
        _compile(f"{path}.{name}" if path else name, each, pieces, level=level + 1)
    pieces.append("}")


def _path_of(path: str, given: dict[str, Any]) -> _Path:
    if unknown := set(given) - {_GET, _DEFAULT}:
        raise TemplateError(path, f"An object with {_GET} may also have {_DEFAULT}, but not {min(unknown)[:100]!r}.")
    names = split_path(given[_GET])
    if names is None:
        raise TemplateError(
            path, f"{_GET} must be a path such as data.number, or a list of at most {MAX_PATH_NAMES} names."
        )
    if names[0] not in FIELDS:
        raise TemplateError(path, f"{_GET} must begin with one of {', '.join(FIELDS)}.")
    return _Path(names, _json(given.get(_DEFAULT)))
