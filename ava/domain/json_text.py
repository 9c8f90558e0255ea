"""JSON from outside: of bounded structure and depth, and unambiguous.

The structure is counted without parsing, so that no text costs more than its limits allow.
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

#: How deep arrays and objects may nest.
MAX_LEVELS = limits.NESTING.value
#: A text of so many bytes, with no more brackets than levels, has too few of anything.
_SHORT_BYTES = 2**16
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


#: Digits of an integer. A piece of a body that has nothing else is refused unread: to find its end takes 0.1 s.
_MAX_DIGITS = 4_300
_TOO_MANY_DIGITS = "The body holds an integer of too many digits."
#: Characters of a text that Python's C code decodes. It holds the interpreter lock until the end, for up to 0.25 s if a
#: body has a million numbers, and no other thread runs. Python code decodes a longer text value by value: that takes
#: up to twenty times as long, and other threads run in between.
_MAX_C_CHARACTERS = 2**18


def size_of(pieces: Iterable[bytes]) -> int:
    """Returns the bytes of all pieces."""
    return sum(map(len, pieces))


def parse(*pieces: bytes) -> Any:
    """Check and decode a text. Raises `BadRequest` or `PayloadTooLarge`, which say what is wrong and where."""
    if size_of(pieces) > _SHORT_BYTES or sum(each.count(b"[") + each.count(b"{") for each in pieces) > MAX_LEVELS:
        Structure().add(pieces)
    return decode(pieces)


def decode(pieces: Sequence[bytes]) -> Any:
    """Decode a text whose structure is checked. Raises `BadRequest`, which says what is wrong and where."""
    try:
        # Other threads go on meanwhile, because Python copies many bytes without holding its lock.
        text = b"".join(pieces).decode()
        if len(text) > _MAX_C_CHARACTERS:
            # Only the API has the frames for all levels (`ava.api.server.greenlet_worker`).
            with suppress(RecursionError):
                return _step_decoder.decode(text)
        return _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} does not belong there.") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:
        # Python refuses longer integers, because their cost grows with the square of the length.
        raise BadRequest(_TOO_MANY_DIGITS) from error


class Structure:
    """Counts what parsing a body would make, and refuses what is too much."""

    def __init__(self) -> None:
        self._parts = self._values = self._depth = 0
        #: 1 if what comes next is inside a string.
        self._is_inside = 0
        #: True if the first byte of the next piece is escaped by the last of the one before.
        self._is_escaped = False

    def add(self, pieces: Iterable[bytes]) -> None:
        """Count the next pieces. Raises `PayloadTooLarge` or `BadRequest`."""
        for piece in pieces:
            plain = self.outside_strings(piece)
            if len(plain) > _MAX_DIGITS and plain.isdigit():
                raise BadRequest(_TOO_MANY_DIGITS)
            self._parts += plain.count(b"[") + plain.count(b"{") + plain.count(b":")
            self._values += plain.count(b",")
            _refuse_above(limits.BODY_PARTS, self._parts, "The body has too many arrays, objects and fields")
            _refuse_above(limits.BODY_VALUES, self._values, "The body has too many values")
            self._refuse_depth(plain.translate(None, _NO_BRACKETS))

    def outside_strings(self, piece: bytes) -> bytes:
        """Returns what is outside the strings in the next piece. After an invalid backslash it may be anything."""
        plain = piece[self._is_escaped :]
        self._is_escaped = False
        if b"\\" in plain:
            plain = plain.replace(b"\\\\", b"")
            self._is_escaped = plain.endswith(b"\\")
            plain = plain.replace(b'\\"', b"")
        between_quotes = plain.split(b'"')
        outside = b"".join(between_quotes[self._is_inside :: 2])
        self._is_inside ^= (len(between_quotes) - 1) % 2
        return outside

    def _refuse_depth(self, brackets: bytes) -> None:
        depth = self._depth
        for bracket in brackets:
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
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadRequest(f"The body has {json.dumps(name[:100])} twice in one object; send it once.")
            seen.add(name)
    return made


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is no JSON value.")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_step_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_step_decoder.scan_once = scanner.py_make_scanner(_step_decoder)  # type: ignore[attr-defined]
