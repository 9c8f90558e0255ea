"""Strings from handlers and clients: make them storable or printable, parse times, suggest known names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

#: A longer log line is cut and marked.
LONGEST_LINE = 16_384
LONGEST_ERROR = 1_000


def storable(string: str, longest: int = LONGEST_LINE) -> str:
    """Cut a string, and escape NUL and lone surrogates, which PostgreSQL cannot store."""
    if len(string) > longest:
        string = f"{string[:longest]}… ({len(string)} characters, cut)"
    if "\0" in string:
        string = string.replace("\0", "\\x00")
    if not string.isascii():
        string = string.encode("utf-8", "backslashreplace").decode("utf-8")
    return string


def one_line(string: str, longest: int = LONGEST_ERROR) -> str:
    """Return a string as one line: each run of white space and line ends becomes one space."""
    return storable(" ".join(string[: 4 * longest].split()), longest)


def printable(string: str, *, allowed: str = "") -> str:
    """Escape every character that is not printable as itself, except the characters in `allowed`.

    Escaped are control characters (C0 and C1, which begin the sequences that move a cursor or set a title), format
    characters such as bidirectional overrides, line separators, lone surrogates and unassigned characters.
    """
    if string.isprintable():
        return string
    return "".join(char if char.isprintable() or char in allowed else repr(char)[1:-1] for char in string)


# A subset: many programs misread ISO 8601's week dates, ordinal dates and forms without separators.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse_time(string: str, *, is_local: bool = False) -> datetime | None:
    """Return the UTC time of a date (its midnight) or a date and time; None if it is neither.

    Without an offset it is in UTC, or with `is_local` in this process's time zone.
    """
    if not _DATE_TIME.fullmatch(string):
        return None
    try:
        timestamp = datetime.fromisoformat(string.upper())
        if timestamp.tzinfo is None and not is_local:
            return timestamp.replace(tzinfo=UTC)
        return timestamp.astimezone(UTC)
    except (ValueError, OverflowError):
        # No such day or hour, or outside the years 1 to 9999 in UTC.
        return None


#: Compared characters of a name, because a comparison takes quadratic time, and compared names.
_MAX_CHARACTERS = 100
_MAX_NAMES = 500


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question, after a space, with the most similar known name; empty if none is similar.

    Compares at most 500 names.
    """
    if len(name) > _MAX_CHARACTERS:
        return ""
    # Imported lazily, because few programs need it.
    import difflib

    names = [each for each in islice(known, _MAX_NAMES) if len(each) <= _MAX_CHARACTERS]
    similar = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {similar[0]}?" if similar else ""
