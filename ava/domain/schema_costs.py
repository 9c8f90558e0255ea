"""Bound the time to validate an input against a JSON Schema, from the schema itself.

It keeps a turn of the event loop below 50 ms for inputs of 1 MiB (`make hostile` sends them): a limit on a schema's
size and depth alone would have to refuse ordinary records of that size.

A validation keeps the interpreter lock, so its process serves no other request. The bound is the sum of two products:
the cost per value, of all keywords that can apply to one value, times the number of values; and the cost per byte, of
the keywords that read a string, times the bytes. Handler authors run code here anyway, so their patterns count as
ordinary; patterns from the API count as the slowest possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Self
from urllib.parse import unquote

#: Max total cost of a schema's parts, which bounds its compiled form.
_MAX_COST = 1_000
_MAX_DEPTH = 64
#: Bytes of objects and lists in `enum` and `const` that cost as much as one part. A value is compared with each of
#: them in turn; strings and numbers are found by hash.
_BYTES_PER_PART = 4

#: Nanoseconds per value and part, and extra nanoseconds of some keywords (measured on one core with jsonschema_rs
#: 0.60).
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
#: The parts of these keywords apply to the value itself; parts of the other keywords to its members.
_IN_PLACE = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas")
#: At most one part of each of these keywords applies to a member.
_ALTERNATIVE = ("properties", "prefixItems")
#: Below these keywords a value may be validated twice: whether it matches, and then why not.
_TWICE = ("anyOf", "oneOf", "not", "if", "contains")
#: These keywords validate all other parts of the schema a second time.
_AGAIN = ("unevaluatedItems", "unevaluatedProperties")
#: Keywords that name a part of a schema other than by its path.
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")


@dataclass(frozen=True, slots=True)
class Patterns:
    #: Max bytes of a compiled pattern, and of its cached states.
    max_bytes: int
    max_state_bytes: int
    #: Nanoseconds per byte of a matched string.
    ns_per_byte: int
    #: The number of parts that one pattern counts as.
    parts: int


HANDLERS = Patterns(max_bytes=2**14, max_state_bytes=2**16, ns_per_byte=5, parts=1)
#: `[ab]*a[ab]{50}c` takes some 500 ns per byte, and 20 KiB of memory.
TENANTS = Patterns(max_bytes=2**12, max_state_bytes=2**14, ns_per_byte=600, parts=20)


@dataclass(frozen=True, slots=True)
class _Cost:
    """The total parts of a part of a schema, and its costs at each level below the value."""

    parts: int
    ns_per_value: tuple[int, ...]
    ns_per_byte: tuple[int, ...]

    def plus(self, other: Self, factor: int = 1) -> Self:
        return replace(
            self,
            parts=self.parts + factor * other.parts,
            ns_per_value=_sum(self.ns_per_value, other.ns_per_value, factor),
            ns_per_byte=_sum(self.ns_per_byte, other.ns_per_byte, factor),
        )

    def either(self, other: Self) -> Self:
        return replace(
            self,
            parts=self.parts + other.parts,
            ns_per_value=tuple(map(max, zip_longest(self.ns_per_value, other.ns_per_value, fillvalue=0))),
            ns_per_byte=tuple(map(max, zip_longest(self.ns_per_byte, other.ns_per_byte, fillvalue=0))),
        )

    def below(self) -> Self:
        return replace(self, ns_per_value=(0, *self.ns_per_value), ns_per_byte=(0, *self.ns_per_byte))


_NOTHING = _Cost(0, (), ())


def referenced(schema: Mapping[str, Any], reference: str) -> Any:
    """Return the part of a schema that a `$ref` such as `#/$defs/address` names. Raise `KeyError` without one.

    A `$ref` is a JSON pointer (RFC 6901) as a URI fragment, so it may be percent-encoded.
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
        """Raise ValueError if the schema is recursive, refers elsewhere, or has too many parts."""
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
                f"it has too many parts, or nests too many choices; its cost may be up to {_MAX_COST}, where each part "
                "counts once, and twice below anyOf, oneOf, not, if and contains, and objects and lists in enum and "
                f"const count once for each {_BYTES_PER_PART} bytes{self._of_patterns()}"
            )
        return found

    def _of_patterns(self) -> str:
        return f", and each pattern {self._patterns.parts} times" if self._patterns.parts > 1 else ""

    def _own(self, part: dict[str, Any]) -> _Cost:
        """Return the cost of a part without its inner parts."""
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
            raise ValueError("$ref must be a path in the same schema, such as #/$defs/address")
        # Percent-encoding allows several spellings of one part.
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
            raise ValueError(f"$ref {reference} does not exist in the schema") from None

    def _refuse_names(self, part: dict[str, Any], *, is_root: bool) -> None:
        for keyword in _REFUSED:
            if keyword in part and not (is_root and keyword == "$id"):
                raise ValueError(f"{keyword} is not accepted; refer to parts by their path, such as #/$defs/address")


def _sum(one: tuple[int, ...], other: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(a + factor * b for a, b in zip_longest(one, other, fillvalue=0))


def _compared_bytes(part: dict[str, Any]) -> int:
    """Return the bytes of the objects and lists in `enum` and `const`, which are compared with a value."""
    listed = part.get("enum", [])
    options = [*(listed if isinstance(listed, list) else ()), part.get("const")]
    return sum(len(json.dumps(option)) for option in options if isinstance(option, dict | list))


def _dependent_names(part: dict[str, Any]) -> int:
    """Return the max number of names that `dependentRequired` looks up for one present name."""
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
