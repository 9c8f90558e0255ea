"""Texts from handlers and clients: storable, printable, read as a time, or compared with the known names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

#: Characters of a log line; a longer one is cut, and says so.
LONGEST_LINE = 16_384
#: Characters of a job's `error`.
LONGEST_ERROR = 1_000


def storable(text: str, longest: int = LONGEST_LINE) -> str:
    """Returns a text cut to a length, with NUL and lone surrogates escaped, which PostgreSQL's text cannot hold."""
    if len(text) > longest:
        text = f"{text[:longest]}… ({len(text)} characters, cut)"
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def one_line(text: str, longest: int = LONGEST_ERROR) -> str:
    """Returns a text as one line: each run of white space and line ends becomes one space."""
    return storable(" ".join(text[: 4 * longest].split()), longest)


def printable(text: str, *, kept: str = "") -> str:
    """Returns a text with every character escaped that is not printed as itself, except those in `kept`.

    These are controls (C0 and C1, which begin the sequences that move a cursor or set a title), formats such as
    bidirectional overrides, line separators, lone surrogates and unassigned characters.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text)


# ISO 8601 also has week dates, ordinal dates and forms without separators, which many programs misread.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse_time(text: str, *, is_local: bool = False) -> datetime | None:
    """Returns the moment in UTC of a date (its midnight) or a date and time; None if the text is neither.

    Without an offset it is UTC, and with `is_local` the time of this process's zone.
    """
    if not _DATE_TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None and not is_local:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # There is no such day or hour, or in UTC it is before the year 1 or after the year 9999.
        return None


#: Characters of a name that are compared, because the time of a comparison grows with their square; and names.
_MAX_CHARACTERS = 100
_MAX_NAMES = 500


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the known name that is the most similar, after a space; empty if none is similar.

    At most 500 names are compared.
    """
    if len(name) > _MAX_CHARACTERS:
        return ""
    # Imported here, because few programs need it.
    import difflib

    names = [each for each in islice(known, _MAX_NAMES) if len(each) <= _MAX_CHARACTERS]
    similar = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {similar[0]}?" if similar else ""
