"""Marshmallow fields that read JSON strictly; their messages describe a valid value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields

from ava.domain import ids
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import INPUT_BYTES
from ava.domain.strings import parse_time, storable
from ava.errors import PayloadTooLarge

#: The result of `FieldNames` for `*`.
ALL_FIELDS = ("*",)
#: The message for a missing field. `ava.api.http.parsing` answers 400 if it finds this message, otherwise 422.
REQUIRED = "It is missing, and it is required."

MESSAGES: dict[str, Any] = {"required": REQUIRED, "null": "It must not be null."}
#: Characters of a client's own name of a field that an error repeats.
_LONGEST_NAME = 100
#: Max ASCII JSON bytes per UTF-8 byte, as in `\u0001`.
_MOST_ASCII = 6
#: Writes compact ASCII JSON. `json.dumps` would create an encoder for each call.
_compact = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WHOLE = re.compile(r"\d{1,12}", re.ASCII)


class Plain(fields.Field[Any]):
    """A field that `read` reads and `ava.api.http.records` writes. Null is refused without `allow_none`."""

    def __init__(self, *, allow_none: bool = False, **rest: Any) -> None:
        super().__init__(error_messages=MESSAGES, allow_none=allow_none, **rest)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return self.read(value)

    def _validate(self, value: Any) -> None:
        # Marshmallow would build a combined validator for each value.
        if self.validators:
            super()._validate(value)

    def read(self, value: Any) -> Any:  # noqa: ARG002 - subclasses read it
        """Return the value as the code uses it. Raises `ValidationError`, which describes a valid value."""
        raise TypeError("this field is for records, which are written and never read")


class String(Plain):
    """A string."""


class Characters(NamedTuple):
    """Which characters a string may have: in words, and the function that checks a string."""

    words: str
    are_in: Callable[[str], object]


ANY = Characters("characters", lambda _: True)
STORABLE = Characters("characters, without NUL and lone surrogates", lambda string: storable(string) == string)
#: No control characters of ASCII and no lone surrogates.
PRINTABLE = Characters("printable characters", lambda string: _UNPRINTABLE.search(string) is None)
#: Also no control, format and separator characters of Unicode.
DISPLAYED = Characters("printable characters", str.isprintable)


class BoundedString(String):
    """A string of `shortest` to `longest` characters; a refusal names `limit`, if there is one."""

    def __init__(
        self, longest: int | Limit, *, shortest: int = 1, characters: Characters = PRINTABLE, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.limit = longest if isinstance(longest, Limit) else None
        self.longest = longest.value if isinstance(longest, Limit) else longest
        self.shortest = shortest
        self.characters = characters

    def read(self, value: Any) -> str:
        if isinstance(value, str) and self.shortest <= len(value) <= self.longest and self.characters.are_in(value):
            return value
        message = f"It must be a string of {self.shortest} to {self.longest:,} {self.characters.words}."
        raise ValidationError(self.limit.message(message) if self.limit else message)


class CheckedString(String):
    """A string that `is_valid` accepts; `message` describes a valid one."""

    def __init__(self, is_valid: Callable[[str], object], message: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.is_valid = is_valid
        self.message = message

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not self.is_valid(value):
            raise ValidationError(self.message)
        return value


class Flag(Plain):
    """True or false; `1`, `"true"` and null are refused."""

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("It must be true or false.")
        return value


class QueryFlag(Flag):
    """True or false in a query."""

    def read(self, value: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("It must be true or false.")
        return bool(value == "true")


class Number(Plain):
    """A number, written without a fraction if it is whole."""


class PositiveNumber(Number):
    """A JSON number from `minimum`, or above 0 without it, to `maximum`; `"2"` and `true` are refused."""

    def __init__(self, *, maximum: float, minimum: float | None = None, **rest: Any) -> None:
        super().__init__(**rest)
        self.maximum = maximum
        self.minimum = minimum

    def read(self, value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value <= self.maximum:
            raise ValidationError(f"It must be a number above 0, at most {self.maximum:g}.")
        if self.minimum is not None and value < self.minimum:
            raise ValidationError(f"It must be at least {self.minimum:g}.")
        return float(value)


class BoundedNumber(Number):
    """A JSON number within bounds; `"2"` and `true` are refused."""

    def __init__(self, *, minimum: float, maximum: float, **rest: Any) -> None:
        rest["metadata"] = rest.get("metadata", {}) | {"minimum": minimum, "maximum": maximum}
        super().__init__(**rest)
        self.minimum = minimum
        self.maximum = maximum

    def read(self, value: Any) -> float:
        # NaN and infinity are outside all bounds.
        if type(value) not in (int, float) or not self.minimum <= value <= self.maximum:
            raise ValidationError(f"It must be a number from {self.minimum:,} to {self.maximum:,}.")
        return float(value)


class JsonString(Plain):
    """A value of a record that is already encoded as JSON."""


class WholeNumber(Plain):
    """A JSON integer within bounds; `2.5`, `2.0`, `"2"` and `true` are refused. In a query it is a string of digits.

    The refusal of a larger number names `limit`, if there is one.
    """

    def __init__(
        self, *, minimum: int, maximum: int, is_string: bool = False, limit: Limit | None = None, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.minimum = minimum
        self.maximum = maximum
        self.is_string = is_string
        self.limit = limit

    def read(self, value: Any) -> int:
        if self.is_string and isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if type(value) is int and self.minimum <= value <= self.maximum:
            return value
        message = f"It must be an integer from {self.minimum} to {self.maximum}."
        if self.limit is not None and type(value) is int and value > self.maximum:
            message = self.limit.message(message)
        raise ValidationError(message)


def filtered(name: str, description: str) -> dict[str, Any]:
    """Return the options of the parameter `filter[name]` of a list."""
    return {
        "data_key": f"filter[{name}]",
        "load_default": None,
        "metadata": {"description": description},
    }


def wait_field(what: str) -> WholeNumber:
    """Return the parameter `wait`; `what` describes the condition, for the documentation."""
    return WholeNumber(
        minimum=1,
        maximum=60,
        is_string=True,
        load_default=None,
        metadata={"description": f"Max seconds to wait for the response until {what}."},
    )


class Choice(Plain):
    """A value of an enumeration; `choices` may omit some."""

    def __init__(self, choices: Iterable[StrEnum], **rest: Any) -> None:
        super().__init__(**rest)
        self.choices = tuple(choices)

    def read(self, value: Any) -> StrEnum:
        found = next((each for each in self.choices if each == value), None)
        if found is None:
            raise ValidationError(f"It must be one of {', '.join(self.choices)}.")
        return found


class Id(Plain):
    """An id in a record, with a prefix of the given ones."""

    def __init__(self, *prefixes: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.prefixes = prefixes

    @property
    def pattern(self) -> str:
        return f"^{self.prefixes[0]}_" if len(self.prefixes) == 1 else f"^({'|'.join(self.prefixes)})_"


class ClientId(Id):
    """An id as clients send it: its prefix, then 1 to 60 of `[0-9a-z_]`."""

    def __init__(self, prefix: str, **rest: Any) -> None:
        super().__init__(prefix, **rest)
        self.prefix = prefix

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not ids.is_client_id(self.prefix, value):
            raise ValidationError(f"It must be an id: {self.prefix}_ and 1 to 60 of a-z, 0-9 and _.")
        return value


class Instant(Plain):
    """A time: read as ISO 8601, written as UTC with a `Z`."""

    def read(self, value: Any) -> datetime:
        timestamp = parse_time(value) if isinstance(value, str) else None
        if timestamp is None:
            raise ValidationError("It must be a time in ISO 8601, such as 2025-06-01T10:00:00Z.")
        return timestamp


class QueryInstant(Instant):
    """A time in a query string, where an unescaped `+` before the offset arrives as a space."""

    _spaced_offset = re.compile(r"(T.*) (\d\d:?\d\d)$", re.ASCII)

    def read(self, value: Any) -> datetime:
        return super().read(self._spaced_offset.sub(r"\1+\2", value))


INVALID_CURSOR = "It must be the next_cursor of an earlier response, unchanged."


class Cursor(Plain):
    """A position in a list, taken from an earlier response."""

    def __init__(self, find: Callable[[str], str | None], **rest: Any) -> None:
        super().__init__(**rest)
        self._find = find

    def read(self, value: Any) -> str:
        found = self._find(value)
        if found is None:
            raise ValidationError(INVALID_CURSOR)
        return found


class FieldNames(Plain):
    """The names of fields of a record, separated by commas, or `*` for all of them."""

    def __init__(self, known: Callable[[], Iterable[str]], **rest: Any) -> None:
        """`known` returns the names of the record's fields, in their order."""
        super().__init__(**rest)
        self._known = known

    @property
    def pattern(self) -> str:
        names = "|".join(self._known())
        return rf"^(\*|({names})(,({names}))*)$"

    def read(self, value: Any) -> tuple[str, ...]:
        if value == "*":
            return ALL_FIELDS
        known, names = tuple(self._known()), set(value.split(","))
        if unknown := names.difference(known):
            name = min(unknown)[:_LONGEST_NAME]
            raise ValidationError(f"The field {name!r} is unknown; known fields are {', '.join(known)}, or * for all.")
        return tuple(name for name in known if name in names)


class JsonObject(Plain):
    """A JSON object, encoded as ASCII JSON so that NUL and lone surrogates in its strings survive."""

    def __init__(self, *, limit: Limit = INPUT_BYTES, **rest: Any) -> None:
        super().__init__(**rest)
        self.limit = limit

    def read(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ValidationError("It must be an object.")
        try:
            input_json = _compact(value)
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None
        # Do not encode a string again if it is certainly too long.
        if len(input_json) > self.limit.value and (
            len(input_json) > _MOST_ASCII * self.limit.value or _size(value) > self.limit.value
        ):
            raise PayloadTooLarge(
                self.limit.message(f"The input is too large; at most {self.limit.value:,} bytes are accepted here.")
            )
        return input_json


class BoundedJson(Plain):
    """Any JSON value, stored as ASCII JSON; the refusal of a large one names it as `what`."""

    def __init__(self, *, limit: Limit, what: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.limit = limit
        self.what = what

    def read(self, value: Any) -> str:
        try:
            json_string = _compact(value)
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None
        if len(json_string) > self.limit.value:
            sentence = f"The {self.what} is too large; at most {self.limit.value:,} bytes are accepted."
            raise PayloadTooLarge(self.limit.message(sentence))
        return json_string


def _size(value: Mapping[str, Any]) -> int:
    value_json = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(value_json.encode("utf-8", "surrogatepass"))
