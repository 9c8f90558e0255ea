"""TypeIDs: a prefix and a UUIDv7 in Crockford's base 32, as clients see ids.

Format: the TypeID specification 0.3 (prefix, underscore, 26 digits of `0123456789abcdefghjkmnpqrstvwxyz`), over the
time-ordered UUIDs of RFC 9562, section 5.7.
"""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

__all__ = ["decode", "encode", "first_uuid", "is_client_id", "new_uuid"]

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
#: Two digits at a time, so that an id takes thirteen look-ups.
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SUFFIX = re.compile(f"[0-7][{_DIGITS}]{{25}}")
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
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


def new_uuid() -> UUID:
    """Returns a UUIDv7 by this machine's clock, for requests and nodes, which are not ordered by it.

    PostgreSQL makes the ids of jobs, because its clock alone orders them.
    """
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def first_uuid(moment: datetime) -> UUID:
    """Returns the smallest UUIDv7 of a moment or later, to the millisecond (a moment before 1970 counts as 1970)."""
    # Rounded up, because a millisecond that begins before the moment is earlier than the moment.
    milliseconds = -(-(moment - _EPOCH) // _MILLISECOND)
    return UUID(int=max(0, min(milliseconds, 2**48 - 1)) << 80)
