"""TypeIDs: a prefix and a UUIDv7 in Crockford's base 32, as clients see ids.

Format: the TypeID specification 0.3 (prefix, underscore, 26 digits of `0123456789abcdefghjkmnpqrstvwxyz`), over the
time-ordered UUIDs of RFC 9562, section 5.7.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
#: Two digits at a time, so that an id takes thirteen look-ups.
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SUFFIX = re.compile(f"[0-7][{_DIGITS}]{{25}}")
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DIGITS_OF_ID = 26
_BITS = 128
_PART = re.compile(f"[{_DIGITS}]{{4,{_DIGITS_OF_ID}}}")
_CLIENT_SUFFIX = re.compile(r"[0-9a-z_]{1,60}")


def encode(prefix: str, value: UUID | str) -> str:
    """Returns a UUID as `prefix_` and 26 digits."""
    number = value.int if isinstance(value, UUID) else int(value.replace("-", ""), 16)
    return f"{prefix}_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def decode(prefix: str, text: str) -> UUID | None:
    """Returns the UUID of an id; None if the text has another prefix or is no id."""
    head, _, suffix = text.partition("_")
    if head != prefix or not _SUFFIX.fullmatch(suffix):
        return None
    number = 0
    for digit in suffix:
        number = number << 5 | _VALUES[digit]
    return UUID(int=number)


def is_client_id(prefix: str, text: str) -> bool:
    """Returns True if a client's own id is well-formed: the prefix, then 1 to 60 of `[0-9a-z_]`."""
    head, separator, suffix = text.partition("_")
    return head == prefix and bool(separator) and bool(_CLIENT_SUFFIX.fullmatch(suffix))


@dataclass(frozen=True, kw_only=True)
class IdPart:
    """Some neighbouring digits of an id."""

    #: True for the first digits: the UUIDs from `low` to `high` begin with them.
    is_first: bool
    low: UUID
    high: UUID
    #: For other digits: each place where they may be, as the UUID with these bits alone, and which bits these are.
    places: tuple[tuple[UUID, UUID], ...] = ()
    #: The bits of these digits, as a text of 0 and 1, without the two that the first digit has above a UUID's 128.
    digit_bits: str = ""


def find_part(prefix: str, text: str) -> IdPart | None:
    """Returns the part of an id that a text names, at least 4 digits; None if it is no part of an id.

    Digits after the prefix are the first ones of the id, and so are those that begin with `01`, as the ids of these
    years do. Digits after `…` are the last ones, as in the short form `job_…8w3fq0za`. Others are anywhere in the id.
    """
    head, separator, digits = text.strip().lower().rpartition("_")
    if (separator and head != prefix) or not _PART.fullmatch(digits.lstrip("…")):
        return None
    is_last = digits.startswith("…")
    digits = digits.lstrip("…")
    if is_last or not (separator or digits.startswith("01")):
        max_after = 0 if is_last else _DIGITS_OF_ID - len(digits)
        digit_bits = "".join(f"{_VALUES[digit]:05b}" for digit in digits)
        return IdPart(
            is_first=False,
            low=UUID(int=0),
            high=UUID(int=2**_BITS - 1),
            places=_places(int(digit_bits, 2), len(digits), max_after),
            digit_bits=digit_bits[-_BITS:],
        )
    if digits[0] > "7":
        return None
    low, high = (decode(prefix, f"{prefix}_{digits.ljust(_DIGITS_OF_ID, fill)}") for fill in "0z")
    assert low is not None
    assert high is not None
    return IdPart(is_first=True, low=low, high=high)


def _places(bits: int, digits: int, max_after: int) -> tuple[tuple[UUID, UUID], ...]:
    """Returns the bits and the mask of so many digits in an id, before each number of digits up to `max_after`."""
    mask = (1 << 5 * digits) - 1
    all_bits = (1 << _BITS) - 1
    shifts = [5 * after for after in range(max_after + 1)]
    return tuple((UUID(int=bits << n), UUID(int=mask << n & all_bits)) for n in shifts if bits << n <= all_bits)


def new_uuid() -> UUID:
    """Returns a UUIDv7 by this machine's clock, for requests and nodes, which are not ordered by it.

    PostgreSQL makes the ids of jobs, because its clock alone orders them.
    """
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def moment_of(prefix: str, text: str) -> datetime:
    """Returns the time in an id, to the millisecond. Raises `ValueError` if the text is no such id."""
    value = decode(prefix, text)
    if value is None:
        raise ValueError(f"no id of {prefix}: {text}")
    return _EPOCH + (value.int >> 80) * _MILLISECOND


def first_uuid(moment: datetime) -> UUID:
    """Returns the smallest UUIDv7 of a moment or later, to the millisecond (a moment before 1970 counts as 1970)."""
    # Rounded up, because a millisecond that begins before the moment is earlier than the moment.
    milliseconds = -(-(moment - _EPOCH) // _MILLISECOND)
    return UUID(int=max(0, min(milliseconds, 2**48 - 1)) << 80)
