"""Decode JSON from clients: bounded in structure and depth, without duplicate keys.

The structure is counted before parsing, so that a body cannot cost more than its limits allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from json import scanner
from typing import Any, NoReturn

from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.errors import BadRequest, PayloadTooLarge

MAX_LEVELS = limits.NESTING.value
#: A body up to this size, with no more brackets than `MAX_LEVELS`, is within all limits.
_SHORT_BYTES = 2**16
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


#: Max digits of an integer. A piece of a body that is only digits is refused unparsed: parsing it takes 0.1 s.
_MAX_DIGITS = 4_300
_TOO_MANY_DIGITS = "The body has an integer with too many digits."
#: Maximum characters that Python's C decoder gets. It holds the interpreter lock, up to 0.25 s for a body of a million
#: numbers. Python code decodes a longer body value by value: up to 20 times slower, but other threads run in between.
_MAX_C_CHARACTERS = 2**18
_FIELDS_AT_ONCE = 10_000


def size_of(pieces: Iterable[bytes]) -> int:
    return sum(map(len, pieces))


def parse(*pieces: bytes) -> Any:
    """Check and decode a body. Raise `BadRequest` or `PayloadTooLarge`, which name the fault and its position."""
    if size_of(pieces) > _SHORT_BYTES or sum(each.count(b"[") + each.count(b"{") for each in pieces) > MAX_LEVELS:
        Structure().add(pieces)
    return decode(pieces)


def decode(pieces: Sequence[bytes]) -> Any:
    """Decode a body with a checked structure. Raise `BadRequest`, which names the fault and its position."""
    try:
        # Other threads can run: Python releases its lock while it copies many bytes.
        document = b"".join(pieces).decode()
        if len(document) > _MAX_C_CHARACTERS:
            # Only the API's greenlets have enough frames for all levels (`ava.api.server.greenlet_worker`).
            with suppress(RecursionError):
                return _step_decoder.decode(document)
        return _decoder.decode(document)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is invalid.") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:
        # Parsing longer integers takes quadratic time, so Python refuses them.
        raise BadRequest(_TOO_MANY_DIGITS) from error


class Structure:
    """Counts the values that parsing a body would create, and refuses too many."""

    def __init__(self) -> None:
        self._parts = self._values = self._depth = 0
        self._is_inside = 0
        #: The fewest bytes of UTF-8 of the string in which the next piece begins.
        self._string_bytes = 0
        #: Whether the last byte of the previous piece escapes the first of the next.
        self._is_escaped = False

    def add(self, pieces: Iterable[bytes]) -> None:
        """Count the next pieces. Raise `PayloadTooLarge` or `BadRequest`."""
        for piece in pieces:
            plain = self.outside_strings(piece)
            if len(plain) > _MAX_DIGITS and plain.isdigit():
                raise BadRequest(_TOO_MANY_DIGITS)
            self._parts += plain.count(b"[") + plain.count(b"{") + plain.count(b":")
            self._values += plain.count(b",")
            _refuse_above(limits.BODY_PARTS, self._parts, "The body has too many arrays, objects and fields")
            _refuse_above(limits.BODY_VALUES, self._values, "The body has too many values")
            self._count_levels(plain)

    def outside_strings(self, piece: bytes) -> bytes:
        """Return the next piece without its strings. After an invalid backslash the result is arbitrary."""
        plain = piece[self._is_escaped :]
        self._is_escaped = False
        if b"\\" in plain:
            plain = plain.replace(b"\\\\", b"")
            self._is_escaped = plain.endswith(b"\\")
            plain = plain.replace(b'\\"', b"")
        between_quotes = plain.split(b'"')
        self._refuse_long_string(piece, plain, between_quotes)
        outside = b"".join(between_quotes[self._is_inside :: 2])
        self._is_inside ^= (len(between_quotes) - 1) % 2
        return outside

    def _refuse_long_string(self, piece: bytes, plain: bytes, between_quotes: list[bytes]) -> None:
        """Raise `PayloadTooLarge` for a string that no input or output can have, because decoding it takes one call."""
        if len(between_quotes) > 1 or not self._is_inside:
            self._string_bytes = 0
            return
        # `\\u` and its four digits stand for at least one byte of UTF-8, and every other escape, of two bytes, for one.
        escapes = plain.count(b"\\") + 4 * plain.count(b"\\u") - (len(piece) - len(plain)) // 2
        self._string_bytes += len(plain) - escapes
        _refuse_above(limits.INPUT_BYTES, self._string_bytes, "The body has a string of too many bytes")

    def refuse_depth(self, document: bytes) -> None:
        """Raise `BadRequest` if a whole document nests too deep."""
        self._count_levels(self.outside_strings(document))

    def _count_levels(self, plain: bytes) -> None:
        depth = self._depth
        for bracket in plain.translate(None, _NO_BRACKETS):
            depth += 1 if bracket in b"[{" else -1
            if depth > MAX_LEVELS:
                raise BadRequest(
                    limits.NESTING.message(f"The body nests too deep; at most {MAX_LEVELS} levels are accepted.")
                )
        self._depth = depth


def _refuse_above(limit: Limit, count: int, sentence: str) -> None:
    if count > limit.value:
        raise PayloadTooLarge(limit.message(f"{sentence}; at most {limit.value:,} are accepted."))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs[:_FIELDS_AT_ONCE])
    # Other threads run between the steps.
    for start in range(_FIELDS_AT_ONCE, len(pairs), _FIELDS_AT_ONCE):
        made.update(pairs[start : start + _FIELDS_AT_ONCE])
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadRequest(f"The body has {json.dumps(name[:100])} twice in one object; send it once.")
            seen.add(name)
    return made


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is not a JSON value.")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_step_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_step_decoder.scan_once = scanner.py_make_scanner(_step_decoder)  # type: ignore[attr-defined]
