"""References in a bulk entry's input to outputs of predecessors: `{"$output": "a.rows.0", "default": 1}`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KEY = "$output"
_DEFAULT = "default"


class ReferenceFault(ValueError):
    """A malformed reference."""


@dataclass(frozen=True, kw_only=True)
class OutputReference:
    """A reference: the entry with the output, and the path in it."""

    #: Its own path in the input, such as `input.rows[0]`.
    location: str
    name: str
    path: tuple[str, ...]


def references(template: Any, location: str = "input") -> Iterator[OutputReference]:
    """Yield the references in an input. Raise `ReferenceFault`, with its path, for a malformed one."""
    waiting: list[tuple[str, Any]] = [(location, template)]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, Mapping):
            if KEY in value:
                yield _reference(at, value)
            else:
                waiting += [(f"{at}.{key}", part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{at}[{n}]", part) for n, part in enumerate(value)]


def _reference(at: str, value: Mapping[str, Any]) -> OutputReference:
    reference = value[KEY]
    if not isinstance(reference, str) or not reference:
        raise ReferenceFault(f"{at}: {KEY} must be a string, the name of an entry and a path, such as a.rows.0.")
    if unknown := set(value) - {KEY, _DEFAULT}:
        raise ReferenceFault(f"{at}: an object with {KEY} may also have default, but not {sorted(unknown)[0]}.")
    name, *path = reference.split(".")
    return OutputReference(location=at, name=name, path=tuple(path))


def resolve(template: Any, output_of: Callable[[str], Any]) -> Any:
    """Return the input with references replaced by parts of outputs.

    `output_of` returns an entry's output by name; None without one. A missing part becomes the reference's default, or
    null.
    """
    if isinstance(template, Mapping):
        if KEY in template:
            reference = _reference("input", template)
            found, value = _part(output_of(reference.name), reference.path)
            return value if found else template.get(_DEFAULT)
        return {key: resolve(part, output_of) for key, part in template.items()}
    if isinstance(template, list):
        return [resolve(part, output_of) for part in template]
    return template


def _part(output: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Return whether the output has the path, and the value there."""
    for step in path:
        if isinstance(output, Mapping) and step in output:
            output = output[step]
        elif isinstance(output, list) and step.isascii() and step.isdigit() and int(step) < len(output):
            output = output[int(step)]
        else:
            return False, None
    return True, output
