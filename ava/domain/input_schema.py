"""The JSON Schema of a worker's input: check a schema, and validate inputs.

Neither a schema nor an input may block a process for long. The regular expression engine takes linear time. A schema
has no cycles, and its costs bound the validation time of an input (`schema_costs`). All errors are collected only for
small inputs; for a large one the validator returns the first.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs

from ava.domain.schema_costs import HANDLERS, Patterns, SchemaCosts
from ava.errors import InvalidFields

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MAX_SCHEMA_BYTES = 2**16
#: Maximum nanoseconds of a validation, by its costs; a costlier input is refused unread, because the validator keeps
#: the interpreter lock. 1 MiB of ordinary records takes two thirds of it.
_MAX_NS = 15_000_000
#: The same for collecting all errors, which takes some 25 times as long.
_MAX_NS_FOR_ALL_ERRORS = 600_000
#: Maximum digits of an integer that is compared exactly. Longer ones are compared as floats, because the validator
#: would take 10 to 200 ns per digit and keyword.
_MAX_DIGITS = 20
#: A response names as many.
_MAX_ERRORS = 20
_LONGEST_MESSAGE = 300
_LONGEST_NAME = 100

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_schema(
    schema: Mapping[str, Any], patterns: Patterns = HANDLERS, *, max_bytes: int = _MAX_SCHEMA_BYTES
) -> str:
    """Return the serialized schema. Raise ValueError if it is invalid, or too expensive to validate inputs."""
    try:
        json_string = json.dumps(schema, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("it must be a JSON object without NaN, infinity or Python objects") from None
    if len(json_string) > max_bytes:
        raise ValueError(f"it has {len(json_string)} bytes of JSON; at most {max_bytes} are accepted")
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise ValueError(f"$schema must be {DIALECT} if it is given")
    InputSchema(json_string, patterns)
    return json_string


class InputMismatch(InvalidFields):
    """The input of a job does not match the schema of its worker."""

    def __init__(self, message: str, fields: Mapping[str, object], entry: int = 0) -> None:
        super().__init__(message, fields)
        self.entry = entry

    @classmethod
    def of(cls, faults: Mapping[str, Any], entry: int = 0, prefix: str = "") -> InputMismatch:
        """Return the error for an entry's faults by path, such as `input.channel`; `prefix` precedes each path."""
        placed = {f"{prefix}{path}": messages for path, messages in faults.items()}
        path, messages = next(iter(placed.items()))
        others = f" ({len(placed) - 1} more in fields)" if len(placed) > 1 else ""
        return cls(f"{path}: {messages[0]}{others}", placed, entry)


class InputSchema:
    def __init__(self, json_string: str, patterns: Patterns = HANDLERS) -> None:
        """Raise ValueError that names the fault of the schema."""
        schema = json.loads(json_string)
        self._costs = SchemaCosts(schema, patterns)
        self._has_choice = bool(re.search(r'"(?:anyOf|oneOf)":', json_string))
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                validate_formats=True,
                mask="It",
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(
                    size_limit=patterns.max_bytes, dfa_size_limit=patterns.max_state_bytes
                ),
            )
        except ValueError as error:
            raise ValueError(_explain(error)) from None

    def faults(self, input_json: str) -> dict[str, list[str]]:
        """Return the faults of an input by path, such as `input.items[1].id`; empty if it matches."""
        values = sum(map(input_json.count, ",[{"))
        of_values = self._costs.ns_per_value * values
        if of_values + self._costs.ns_per_byte * len(input_json) > _MAX_NS:
            return {
                "input": [
                    "It is too large to be checked against the worker's schema: it has too many values or characters."
                ]
            }
        given = _DECODER.decode(_without_lone_surrogates(input_json))
        if self._validator.is_valid(given):
            return {}
        faults: dict[str, list[str]] = {}
        for error in self._errors(given, of_values):
            for path, message in _faults_by_path(error):
                faults.setdefault(path, []).append(message)
        return faults

    def _errors(self, given: Any, nanoseconds: int) -> Iterator[Any]:
        if nanoseconds <= _MAX_NS_FOR_ALL_ERRORS:
            yield from islice(self._validator.iter_errors(given), _MAX_ERRORS)
        elif self._has_choice:
            # The error of anyOf and oneOf contains the errors of all alternatives, so it is not bounded.
            yield None
        else:
            try:
                self._validator.validate(given)
            except jsonschema_rs.ValidationError as error:
                yield error


def _faults_by_path(error: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths that an error is about, with a message each. None stands for an error without a path."""
    if error is None:
        yield "input", "It does not match the worker's schema; it is too large to name the place."
        return
    path = "input" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in error.instance_path
    )
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AnyOf | jsonschema_rs.ValidationErrorKind.OneOfNotValid):
        yield from _faults_in_choice(error, path)
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        yield f"{path}.{_short(kind.property)}", "It is missing, and the worker's schema requires it."
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        for name in islice(kind.unexpected, _MAX_ERRORS):
            yield f"{path}.{_short(name)}", "It is unknown; the worker's schema has no such field."
    else:
        yield path, _sentence(str(error.message))


def _faults_in_choice(error: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the faults for the only alternative that the value can mean, or the fields that select an alternative."""
    depth = len(error.instance_path)
    choices = [each for each in error.kind.context if not any(_is_of_type(inner, depth) for inner in each)]
    meant = [each for each in choices if not any(_is_constant(inner, depth) for inner in each)]
    if len(meant) == 1:
        for inner in islice(meant[0], _MAX_ERRORS):
            yield from _faults_by_path(inner)
        return
    found = list(_choosing(choices, depth)) or [("", str(error.message))]
    for name, message in found:
        yield f"{path}.{_short(name)}" if name else path, _sentence(message)


def _choosing(choices: list[list[Any]], depth: int) -> Iterator[tuple[str, str]]:
    """Yield fields with a message: fields that all alternatives require, and constants that tell them apart."""
    missing = [_missing(each, depth) for each in choices]
    for name in sorted(set.intersection(*missing)) if missing else ():
        yield name, "It is missing, and the worker's schema requires it"
    if choices and all(len(each) == len(names) == 1 for each, names in zip(choices, missing, strict=True)):
        names = [name for each in missing for name in each]
        if len(set(names)) > 1:
            yield names[0], f"It is missing, and the worker's schema requires it, as {' or '.join(names)}"
    expected: dict[str, list[str]] = {}
    for inner in (inner for each in choices for inner in each if _is_constant(inner, depth)):
        expected.setdefault(str(inner.instance_path[-1]), []).append(json.dumps(inner.kind.expected_value))
    for name, values in expected.items():
        if len(values) == len(choices):
            known = list(dict.fromkeys(values))
            yield name, f"It must be {'one of ' if len(known) > 1 else ''}{', '.join(known)}"


def _is_of_type(error: Any, depth: int) -> bool:
    return isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type) and len(error.instance_path) == depth


def _is_constant(error: Any, depth: int) -> bool:
    """Return True if a field of the value differs from the alternative's constant."""
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


def _whole_number(digits: str) -> int | float:
    if len(digits) <= _MAX_DIGITS:
        return int(digits)
    return max(-sys.float_info.max, min(sys.float_info.max, float(digits)))


_DECODER = json.JSONDecoder(parse_int=_whole_number)


def _without_lone_surrogates(json_string: str) -> str:
    r"""Return ASCII JSON in which each lone surrogate (`\ud800` without its pair) is replaced.

    The validator takes UTF-8, which cannot encode them. Only the validated copy changes.
    """
    if "\\ud" not in json_string.lower():
        return json_string
    value = json.loads(json_string)
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
    path = "/".join(map(str, error.instance_path))
    is_pattern = str(error.message).endswith('is not a "regex"')
    message = (
        "the pattern cannot be used: it is not a regular expression, is too large, or uses look-around or "
        "back-references"
        if is_pattern
        else str(error.message)[:_LONGEST_MESSAGE]
    )
    return f"{path}: {message}" if path else message
