"""How long it may take to compare an input with a JSON Schema, found from the schema alone.

A comparison keeps the interpreter, so no other request of its process is served meanwhile. Its time is bounded by what
any one value of an input may be compared with, times the number of values, and by the keywords that read any one text,
times the bytes. The author of a handler runs code here anyway, so its patterns are taken for ordinary ones; those that
came over the API for the slowest that there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Self
from urllib.parse import unquote

#: What the parts of a schema may cost in all: a bound for its compiled form.
_MAX_COST = 1_000
_MAX_DEPTH = 64
#: Bytes of objects and lists in `enum` and `const` that cost as much as one part. A value is compared with each of them
#: in turn; texts and numbers are found by a hash.
_BYTES_PER_PART = 4

#: Nanoseconds that the comparison with one part takes, and what these keywords take beside it (measured on one core
#: with jsonschema_rs 0.60).
_PART_NS = 20
_KEYWORD_NS = {"multipleOf": 1_000, "format": 100, "pattern": 100, "required": 100}
_UNIQUE_NS = 200
_NS_PER_COMPARED_BYTE = 10
_NS_PER_DEPENDENT_NAME = 50
_FORMAT_NS_PER_BYTE = 2

_ONE = (
    *("additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas")
#: The parts of these are compared with the value itself; those of the others with what it holds.
_IN_PLACE = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas")
#: Of the parts of these at most one is compared with each value.
_ALTERNATIVE = ("properties", "prefixItems")
#: Below these a value may be compared twice: to find out whether it matches, and then why it does not.
_TWICE = ("anyOf", "oneOf", "not", "if", "contains")
#: With these all other parts of the schema are compared twice.
_AGAIN = ("unevaluatedItems", "unevaluatedProperties")
#: The keywords by which a schema names places in it other than by their path.
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")


@dataclass(frozen=True, slots=True)
class Patterns:
    """What the regular expressions of a schema may be."""

    #: Bytes of a compiled one, and of the states that are kept while it reads.
    max_bytes: int
    max_state_bytes: int
    #: Nanoseconds that one takes for a byte of text.
    ns_per_byte: int
    #: How many parts one costs as much as.
    parts: int


HANDLERS = Patterns(max_bytes=2**14, max_state_bytes=2**16, ns_per_byte=5, parts=1)
#: `[ab]*a[ab]{50}c` takes some 500 ns a byte, and 20 KiB of memory.
TENANTS = Patterns(max_bytes=2**12, max_state_bytes=2**14, ns_per_byte=600, parts=20)


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of a part of a schema: its parts in all, and by levels below a value what is compared and read there."""

    parts: int
    ns_per_value: tuple[int, ...]
    ns_per_byte: tuple[int, ...]

    def plus(self, other: Self, factor: int = 1) -> Self:
        """Returns the cost of both, of `other` `factor` times."""
        return replace(
            self,
            parts=self.parts + factor * other.parts,
            ns_per_value=_sum(self.ns_per_value, other.ns_per_value, factor),
            ns_per_byte=_sum(self.ns_per_byte, other.ns_per_byte, factor),
        )

    def either(self, other: Self) -> Self:
        """Returns the cost of the dearer one at each level, and of the parts of both."""
        return replace(
            self,
            parts=self.parts + other.parts,
            ns_per_value=tuple(map(max, zip_longest(self.ns_per_value, other.ns_per_value, fillvalue=0))),
            ns_per_byte=tuple(map(max, zip_longest(self.ns_per_byte, other.ns_per_byte, fillvalue=0))),
        )

    def below(self) -> Self:
        """Returns the same cost for what a value holds."""
        return replace(self, ns_per_value=(0, *self.ns_per_value), ns_per_byte=(0, *self.ns_per_byte))


_NOTHING = _Cost(0, (), ())


def referenced(schema: Mapping[str, Any], reference: str) -> Any:
    """Return the part of a schema that a `$ref` such as `#/$defs/address` names. Raises `KeyError`.

    It is a JSON pointer (RFC 6901) in the form of a URI's fragment, so it may be percent-encoded.
    """
    part: Any = schema
    for step in unquote(reference).removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, Mapping) or name not in part:
            raise KeyError(name)
        part = part[name]
    return part


class SchemaCosts:
    """The costs of a schema: `ns_per_value` and `ns_per_byte` of an input."""

    def __init__(self, schema: dict[str, Any], patterns: Patterns = HANDLERS) -> None:
        """Raises ValueError if it refers to itself or elsewhere, or has too many parts."""
        self._schema = schema
        self._patterns = patterns
        self._known: dict[str, _Cost] = {}
        self._open: list[str] = []
        found = self._of(schema, depth=0)
        self.ns_per_value = max(found.ns_per_value)
        self.ns_per_byte = max(found.ns_per_byte)

    def _of(self, part: Any, depth: int) -> _Cost:
        if not isinstance(part, dict):
            return _Cost(1, (_PART_NS,), (0,))
        if depth > _MAX_DEPTH:
            raise ValueError(f"it nests deeper than {_MAX_DEPTH} levels")
        self._refuse_names(part, is_root=depth == 0)
        found, alternatives = self._own(part), _NOTHING
        for keyword, inner in _parts(part):
            cost = self._of(inner, depth + 1)
            if keyword in _ALTERNATIVE:
                alternatives = alternatives.either(cost.below())
            else:
                found = found.plus(cost if keyword in _IN_PLACE else cost.below(), 2 if keyword in _TWICE else 1)
        found = found.plus(alternatives)
        if "$ref" in part:
            found = found.plus(self._of_reference(part["$ref"], depth))
        if any(keyword in part for keyword in _AGAIN):
            found = found.plus(found)
        if found.parts > _MAX_COST:
            raise ValueError(
                f"it has too many parts, or nests too many choices; its cost may be {_MAX_COST}, where each part "
                "counts once, and twice below anyOf, oneOf, not, if and contains, and objects and lists in enum and "
                f"const count once for each {_BYTES_PER_PART} bytes{self._of_patterns()}"
            )
        return found

    def _of_patterns(self) -> str:
        return f", and each pattern {self._patterns.parts} times" if self._patterns.parts > 1 else ""

    def _own(self, part: dict[str, Any]) -> _Cost:
        """Returns what a part costs without those in it."""
        compared = _compared_bytes(part)
        names = part.get("patternProperties")
        of_names = len(names) if isinstance(names, dict) else 0
        count = of_names + ("pattern" in part)
        value = _PART_NS + sum(ns for keyword, ns in _KEYWORD_NS.items() if keyword in part)
        value += _NS_PER_COMPARED_BYTE * compared + _NS_PER_DEPENDENT_NAME * _dependent_names(part)
        read = self._patterns.ns_per_byte * ("pattern" in part) + _FORMAT_NS_PER_BYTE * ("format" in part)
        below = _UNIQUE_NS * ("uniqueItems" in part) + _KEYWORD_NS["pattern"] * of_names
        return _Cost(
            1 + compared // _BYTES_PER_PART + (self._patterns.parts - 1) * count,
            (value, below),
            (read, self._patterns.ns_per_byte * of_names),
        )

    def _of_reference(self, reference: Any, depth: int) -> _Cost:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ValueError("$ref must name a place in the same schema, such as #/$defs/address")
        # One part of the schema may be written in several ways.
        part = unquote(reference)
        if part in self._open:
            raise ValueError(f"$ref {reference} refers to itself; describe its inner levels by {{}}")
        if part not in self._known:
            self._open.append(part)
            self._known[part] = self._of(self._target(reference), depth + 1)
            self._open.pop()
        return self._known[part]

    def _target(self, reference: str) -> Any:
        if reference == "#":
            raise ValueError("$ref # refers to itself; describe its inner levels by {}")
        try:
            return referenced(self._schema, reference)
        except KeyError:
            raise ValueError(f"$ref {reference} names no part of the schema") from None

    def _refuse_names(self, part: dict[str, Any], *, is_root: bool) -> None:
        for keyword in _REFUSED:
            if keyword in part and not (is_root and keyword == "$id"):
                raise ValueError(f"{keyword} is not accepted; refer to parts by their path, such as #/$defs/address")


def _sum(one: tuple[int, ...], other: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(a + factor * b for a, b in zip_longest(one, other, fillvalue=0))


def _compared_bytes(part: dict[str, Any]) -> int:
    """Returns the bytes of the objects and lists that `enum` and `const` compare a value with."""
    listed = part.get("enum", [])
    options = [*(listed if isinstance(listed, list) else ()), part.get("const")]
    return sum(len(json.dumps(option)) for option in options if isinstance(option, dict | list))


def _dependent_names(part: dict[str, Any]) -> int:
    """Returns the most names that `dependentRequired` looks up for one name that is there."""
    listed = part.get("dependentRequired")
    names = listed.values() if isinstance(listed, dict) else ()
    return max((len(each) for each in names if isinstance(each, list)), default=0)


def _parts(part: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _ONE:
        if keyword in part:
            yield keyword, part[keyword]
    for keyword in _SEVERAL:
        if isinstance(part.get(keyword), list):
            yield from ((keyword, inner) for inner in part[keyword])
    for keyword in _NAMED:
        if isinstance(part.get(keyword), dict):
            yield from ((keyword, inner) for inner in part[keyword].values())
