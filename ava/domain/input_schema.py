"""The JSON Schema of a worker's input: what a schema may be, and what is wrong with an input by it.

Neither a schema nor an input may make a process stand still. Patterns are matched by an engine that takes linear time.
A schema has no cycles, and a bounded cost: about how many of its parts one value of an input may be compared with. The
errors of an input are collected only if they are few; of a larger one the first is found, which costs no more than to
find out whether there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs

from ava.errors import InvalidFields

__all__ = ["DIALECT", "InputMismatch", "InputSchema", "check_schema"]

#: JSON Schema 2020-12.
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MAX_SCHEMA_BYTES = 2**16
_MAX_COST = 1_000
_MAX_DEPTH = 64
#: Bytes of objects and lists in `enum` and `const` that cost as much as one part. A value is compared with each of them
#: in turn, 11 ns a byte; texts and numbers are found by a hash.
_BYTES_PER_PART = 4
#: Bytes of a compiled pattern.
_MAX_PATTERN_BYTES = 2**14
#: The product of a schema's cost and an input's values above which the input is refused unseen. Each comparison takes 2
#: to 40 ns, during which no request of the process is served, because the validator keeps the interpreter: 0.16 s at
#: most. An input of 1 MiB of ordinary records has less than the half.
_MAX_COMPARISONS = 4_000_000
#: That product up to which all errors are collected, which takes 60 µs for each.
_MAX_FOR_ALL_ERRORS = 20_000
#: Errors that are collected; as many as an answer names.
_MAX_ERRORS = 20
_LONGEST_MESSAGE = 300
_LONGEST_NAME = 100

_ONE = (
    *("additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas")
#: Below these a value may be compared twice: to find out whether it matches, and then why it does not.
_TWICE = ("anyOf", "oneOf", "not", "if", "contains")
#: With these all other parts of the schema are compared twice.
_AGAIN = ("unevaluatedItems", "unevaluatedProperties")
#: The keywords by which a schema names places in it other than by their path.
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_schema(schema: Mapping[str, Any]) -> str:
    """Returns a schema as JSON text. Raises ValueError if it is none, or none that is safe to check inputs against."""
    try:
        text = json.dumps(schema, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("it must be an object that JSON can carry") from None
    if len(text) > _MAX_SCHEMA_BYTES:
        raise ValueError(f"it has {len(text)} bytes of JSON; at most {_MAX_SCHEMA_BYTES} are accepted")
    if schema.get("$schema", DIALECT).rstrip("#") != DIALECT:
        raise ValueError(f"$schema must be {DIALECT}, or left out")
    InputSchema(text)
    return text


class InputMismatch(InvalidFields):
    """The input of a job does not match the schema of its worker."""

    def __init__(self, message: str, fields: Mapping[str, object], entry: int = 0) -> None:
        super().__init__(message, fields)
        self.entry = entry

    @classmethod
    def of(cls, faults: Mapping[str, Any], entry: int = 0, prefix: str = "") -> InputMismatch:
        """Returns the error of an entry's faults, by places such as `input.channel`; `prefix` stands before each."""
        placed = {f"{prefix}{place}": messages for place, messages in faults.items()}
        place, messages = next(iter(placed.items()))
        others = f" ({len(placed) - 1} more in fields)" if len(placed) > 1 else ""
        return cls(f"{place}: {messages[0]}{others}", placed, entry)


class InputSchema:
    """A compiled schema."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, which says what is wrong with the schema."""
        schema = json.loads(text)
        self._cost = _Costs(schema).total
        self._has_choice = bool(re.search(r'"(?:anyOf|oneOf)":', text))
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                validate_formats=True,
                mask="It",
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES),
            )
        except ValueError as error:
            raise ValueError(_explain(error)) from None

    def faults(self, input_json: str) -> dict[str, list[str]]:
        """Returns what is wrong with an input, by its place such as `input.items[1].id`; nothing if it matches."""
        comparisons = self._cost * (input_json.count(",") + 1)
        if comparisons > _MAX_COMPARISONS:
            return {"input": ["It has too many values to be checked against the schema of its worker."]}
        given = json.loads(_without_lone_surrogates(input_json))
        if self._validator.is_valid(given):
            return {}
        faults: dict[str, list[str]] = {}
        for error in self._errors(given, comparisons):
            for place, message in _places(error):
                faults.setdefault(place, []).append(message)
        return faults

    def _errors(self, given: Any, comparisons: int) -> Iterator[Any]:
        if comparisons <= _MAX_FOR_ALL_ERRORS:
            yield from islice(self._validator.iter_errors(given), _MAX_ERRORS)
        elif self._has_choice:
            # The error of a choice has those of all its parts.
            yield None
        else:
            try:
                self._validator.validate(given)
            except jsonschema_rs.ValidationError as error:
                yield error


def _places(error: Any) -> Iterator[tuple[str, str]]:
    """Yields the places that an error is about, and a message for each. None is an error without a place."""
    if error is None:
        yield "input", "It does not match the schema of its worker; it is too large to say where."
        return
    path = "input" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in error.instance_path
    )
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AnyOf | jsonschema_rs.ValidationErrorKind.OneOfNotValid):
        yield from _places_in_choice(error, path)
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        yield f"{path}.{_short(kind.property)}", "It is missing, and the schema of the worker requires it."
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        for name in islice(kind.unexpected, _MAX_ERRORS):
            yield f"{path}.{_short(name)}", "It is not known here by the schema of the worker."
    else:
        yield path, _sentence(str(error.message))


def _places_in_choice(error: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yields what is wrong by the only choice that a value can be meant as, or what says which choice it is."""
    depth = len(error.instance_path)
    choices = [each for each in error.kind.context if not any(_is_of_type(inner, depth) for inner in each)]
    meant = [each for each in choices if not any(_is_constant(inner, depth) for inner in each)]
    if len(meant) == 1:
        for inner in islice(meant[0], _MAX_ERRORS):
            yield from _places(inner)
        return
    found = list(_choosing(choices, depth)) or [("", str(error.message))]
    for name, message in found:
        yield f"{path}.{_short(name)}" if name else path, _sentence(message)


def _choosing(choices: list[list[Any]], depth: int) -> Iterator[tuple[str, str]]:
    """Yields fields with a message: those that all choices require, and those whose constant value says which it is."""
    missing = [_missing(each, depth) for each in choices]
    for name in sorted(set.intersection(*missing)) if missing else ():
        yield name, "It is missing, and the schema of the worker requires it"
    if choices and all(len(each) == len(names) == 1 for each, names in zip(choices, missing, strict=True)):
        names = [name for each in missing for name in each]
        if len(set(names)) > 1:
            yield names[0], f"It is missing, and the schema of the worker requires it, as {' or '.join(names)}"
    expected: dict[str, list[str]] = {}
    for inner in (inner for each in choices for inner in each if _is_constant(inner, depth)):
        expected.setdefault(str(inner.instance_path[-1]), []).append(json.dumps(inner.kind.expected_value))
    for name, values in expected.items():
        if len(values) == len(choices):
            known = list(dict.fromkeys(values))
            yield name, f"It must be {'one of ' if len(known) > 1 else ''}{', '.join(known)}"


def _is_of_type(error: Any, depth: int) -> bool:
    """Returns True if an error of a choice means that the value is of another type."""
    return isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type) and len(error.instance_path) == depth


def _is_constant(error: Any, depth: int) -> bool:
    """Returns True if an error of a choice means that a constant field of the value has another value."""
    is_constant = isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Constant)
    return is_constant and len(error.instance_path) == depth + 1


def _missing(errors: list[Any], depth: int) -> set[str]:
    required = jsonschema_rs.ValidationErrorKind.Required
    return {
        each.kind.property for each in errors if isinstance(each.kind, required) and len(each.instance_path) == depth
    }


def _sentence(message: str) -> str:
    return f"{message[:_LONGEST_MESSAGE]}{'…' if len(message) > _LONGEST_MESSAGE else '.'}"


def _short(name: str) -> str:
    return name[:_LONGEST_NAME]


def _without_lone_surrogates(text: str) -> str:
    r"""Returns JSON text in ASCII in which each half of a character (`\ud800` alone) is replaced.

    The validator takes UTF-8, which has no such halves. Only the copy that is checked changes.
    """
    if "\\ud" not in text.lower():
        return text
    value = json.loads(text)
    return json.dumps(_replaced(value))


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replaced(each) for each in value]
    if isinstance(value, dict):
        return {_replaced(name): _replaced(each) for name, each in value.items()}
    return value


def _explain(error: ValueError) -> str:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return str(error)
    place = "/".join(map(str, error.instance_path))
    is_pattern = str(error.message).endswith('is not a "regex"')
    message = (
        "the pattern cannot be used: it is no regular expression, is too large, or looks around or back"
        if is_pattern
        else str(error.message)[:_LONGEST_MESSAGE]
    )
    return f"{place}: {message}" if place else message


class _Costs:
    """The cost of a schema: each part counts as often as one value may be compared with it."""

    def __init__(self, schema: Any) -> None:
        """Raises ValueError for a schema that refers to itself, to another document, or that costs too much."""
        self._schema = schema
        self._known: dict[str, int] = {}
        self._open: list[str] = []
        self.total = self._of(schema, depth=0)

    def _of(self, part: Any, depth: int) -> int:
        if not isinstance(part, dict):
            return 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"it nests deeper than {_MAX_DEPTH} levels")
        self._refuse_names(part, is_root=depth == 0)
        cost = 1 + _compared_bytes(part) // _BYTES_PER_PART
        cost += sum(self._of(inner, depth + 1) * (2 if keyword in _TWICE else 1) for keyword, inner in _parts(part))
        if "$ref" in part:
            cost += self._of_reference(part["$ref"], depth)
        cost *= 2 if any(keyword in part for keyword in _AGAIN) else 1
        if cost > _MAX_COST:
            raise ValueError(
                f"it has too many parts, or nests too many choices; its cost may be {_MAX_COST}, where each part "
                "counts once, and twice below anyOf, oneOf, not, if and contains, and objects and lists in enum and "
                f"const count once for each {_BYTES_PER_PART} bytes"
            )
        return cost

    def _of_reference(self, reference: Any, depth: int) -> int:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ValueError("$ref must name a place in the same schema, such as #/$defs/address")
        if reference in self._open:
            raise ValueError(f"$ref {reference} refers to itself; describe its inner levels by {{}}")
        if reference not in self._known:
            self._open.append(reference)
            self._known[reference] = self._of(self._target(reference), depth + 1)
            self._open.pop()
        return self._known[reference]

    def _target(self, reference: str) -> Any:
        if reference == "#":
            raise ValueError("$ref # refers to itself; describe its inner levels by {}")
        target = self._schema
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or name not in target:
                raise ValueError(f"$ref {reference} names no part of the schema")
            target = target[name]
        return target

    def _refuse_names(self, part: dict[str, Any], *, is_root: bool) -> None:
        for keyword in _REFUSED:
            if keyword in part and not (is_root and keyword == "$id"):
                raise ValueError(f"{keyword} is not accepted; refer to parts by their path, such as #/$defs/address")


def _compared_bytes(part: dict[str, Any]) -> int:
    """Returns the bytes of the objects and lists that `enum` and `const` compare a value with."""
    listed = part.get("enum", [])
    options = [*(listed if isinstance(listed, list) else ()), part.get("const")]
    return sum(len(json.dumps(option)) for option in options if isinstance(option, dict | list))


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
