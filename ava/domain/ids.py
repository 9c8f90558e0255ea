"""TypeIDs: a prefix and a UUIDv7 in Crockford's base 32, as clients see ids.

Format: the TypeID specification 0.3 (prefix, underscore, 26 digits of `0123456789abcdefghjkmnpqrstvwxyz`), over the
time-ordered UUIDs of RFC 9562, section 5.7.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
#: Two digits at a time: an id takes 13 lookups.
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SUFFIX = re.compile(f"[0-7][{_DIGITS}]{{25}}")
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DIGITS_OF_ID = 26
_BITS = 128
_PART = re.compile(f"[{_DIGITS}]{{4,{_DIGITS_OF_ID}}}")
#: Greater than every UUIDv7.
LAST_UUID = UUID(int=2**128 - 1)
_CLIENT_SUFFIX = re.compile(r"[0-9a-z_]{1,60}")


def encode(prefix: str, value: UUID | str) -> str:
    """Return a UUID as `prefix_` and 26 digits."""
    number = value.int if isinstance(value, UUID) else int(value.replace("-", ""), 16)
    return f"{prefix}_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def decode(prefix: str, string: str) -> UUID | None:
    """Return the UUID of an id; None if the prefix differs or the id is malformed."""
    head, _, suffix = string.partition("_")
    if head != prefix or not _SUFFIX.fullmatch(suffix):
        return None
    number = 0
    for digit in suffix:
        number = number << 5 | _VALUES[digit]
    return UUID(int=number)


def to_uuid(prefix: str, string: str) -> str | None:
    """Return the UUID of an id as a string, the form that statements take; None like `decode`."""
    value = decode(prefix, string)
    return None if value is None else str(value)


def is_client_id(prefix: str, string: str) -> bool:
    """Return True if a client-chosen id is well-formed: the prefix, then 1 to 60 of `[0-9a-z_]`."""
    head, separator, suffix = string.partition("_")
    return head == prefix and bool(separator) and bool(_CLIENT_SUFFIX.fullmatch(suffix))


@dataclass(frozen=True, kw_only=True)
class IdPart:
    #: True for the first digits: ids from `low` to `high` begin with them.
    is_first: bool
    low: UUID
    high: UUID
    #: For other digits: their bits and the bit mask at each possible position.
    positions: tuple[tuple[UUID, UUID], ...] = ()
    #: Their bits as a string of 0 and 1, without the first digit's two that exceed a UUID's 128.
    digit_bits: str = ""


def find_part(prefix: str, string: str) -> IdPart | None:
    """Return the part of an id that the string names, at least 4 digits; None if it is not part of an id.

    Digits after the prefix, and digits that begin with `01` as all present ids do, are the first of the id. Digits
    after `…` are the last, as in the short form `job_…8w3fq0za`. Other digits may be at any position.
    """
    head, separator, digits = string.strip().lower().rpartition("_")
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
            positions=_positions(int(digit_bits, 2), len(digits), max_after),
            digit_bits=digit_bits[-_BITS:],
        )
    if digits[0] > "7":
        return None
    low, high = (decode(prefix, f"{prefix}_{digits.ljust(_DIGITS_OF_ID, fill)}") for fill in "0z")
    assert low is not None
    assert high is not None
    return IdPart(is_first=True, low=low, high=high)


def _positions(bits: int, digits: int, max_after: int) -> tuple[tuple[UUID, UUID], ...]:
    """Return the bits of `digits` digits and their mask, shifted by each number of digits up to `max_after`."""
    mask = (1 << 5 * digits) - 1
    all_bits = (1 << _BITS) - 1
    shifts = [5 * after for after in range(max_after + 1)]
    return tuple((UUID(int=bits << n), UUID(int=mask << n & all_bits)) for n in shifts if bits << n <= all_bits)


def new_uuid() -> UUID:
    """Return a UUIDv7 by this machine's clock, for requests and nodes: their order does not matter.

    PostgreSQL creates the ids of jobs, because their order needs a single clock.
    """
    return new_uuid_at(datetime.now(UTC))


def new_uuid_at(timestamp: datetime) -> UUID:
    """Return a UUIDv7 of a time, ordered to the microsecond like those of PostgreSQL."""
    milliseconds, rest = divmod(timestamp - _EPOCH, _MILLISECOND)
    fraction = rest.microseconds * 4096 // 1000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | secrets.randbits(62))


def timestamp_of(prefix: str, string: str) -> datetime:
    """Return the time in an id, to the millisecond. Raise `ValueError` if the id is malformed."""
    value = decode(prefix, string)
    if value is None:
        raise ValueError(f"no id of {prefix}: {string}")
    return time_of(value)


def time_of(value: UUID | str) -> datetime:
    """Return the time of a UUIDv7, to the millisecond."""
    number = value.int if isinstance(value, UUID) else int(value.replace("-", ""), 16)
    return _EPOCH + (number >> 80) * _MILLISECOND


def first_uuid(timestamp: datetime) -> UUID:
    """Return the smallest UUIDv7 at or after a time, to the millisecond (1970 for earlier times)."""
    # Round up: a millisecond that begins before `timestamp` is too early.
    milliseconds = -(-(timestamp - _EPOCH) // _MILLISECOND)
    return UUID(int=max(0, min(milliseconds, 2**48 - 1)) << 80)


def uuid_range(
    prefix: str, *, since: datetime | None, until: datetime | None, before_id: str | None = None
) -> dict[str, str]:
    """Return the UUIDs `first` (inclusive) and `before` (exclusive) of the ids of a time range, to the millisecond.

    `before_id`: only older ids. A malformed one is ignored.
    """
    bounds = [None if until is None else first_uuid(until), None if before_id is None else decode(prefix, before_id)]
    first = UUID(int=0) if since is None else first_uuid(since)
    return {"first": str(first), "before": str(min(filter(None, bounds), default=LAST_UUID))}
