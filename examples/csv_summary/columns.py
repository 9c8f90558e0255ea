"""Summarises the values of one column in one pass."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

#: Cells that count as missing, as blank ones do.
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-"))

#: Characters of a value that are compared and shown.
LONGEST_VALUE = 100

# Codes with leading zeros, such as 00501, are strings: their mean means nothing, and a number would lose the zeros.
_INTEGER = r"[+-]?(?:0|[1-9][0-9]{0,17})"
_NUMBER = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:%s[0-9]*)?|%s[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_BOOLEAN = r"true|false|True|False|TRUE|FALSE|yes|no|Yes|No|YES|NO"


def _kinds(decimal: str) -> re.Pattern[str]:
    number = _NUMBER % (re.escape(decimal), re.escape(decimal))
    return re.compile(
        f"(?P<integer>{_INTEGER})|(?P<number>{number})|(?P<date>{_DATE})|(?P<datetime>{_DATE}[T ]{_TIME})"
        f"|(?P<boolean>{_BOOLEAN})"
    )


_KINDS = {decimal: _kinds(decimal) for decimal in ".,"}


class Column:
    """One column: counts, extremes and frequent values, in memory that does not grow with the rows."""

    def __init__(self, name: str, *, decimal: str, capacity: int) -> None:
        self.name = name
        self._kind_of = _KINDS[decimal].fullmatch
        self._decimal = decimal
        self._top = TopValues(capacity)
        self._missing = 0
        self._types: dict[str, int] = {}
        self._numbers = _Numbers()
        self._times = _Times()
        self._shortest = self._longest = 0

    def add(self, cell: str, times: int = 1) -> None:
        """Count a cell, or `times` equal cells."""
        value = cell.strip()
        if len(value) <= 4 and value.lower() in MISSING:
            self._missing += times
            return
        self._top.add(value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…", times)
        match = self._kind_of(value)
        kind = self._see(match.lastgroup or "text", value, times) if match else "text"
        if kind == "text":
            self._shortest = min(self._shortest or len(value), len(value))
            self._longest = max(self._longest, len(value))
        self._types[kind] = self._types.get(kind, 0) + times

    def _see(self, kind: str, value: str, times: int) -> str:
        """Count a value of a kind. Returns its kind, which is `text` if the value only looked like that kind."""
        match kind:
            case "integer":
                self._numbers.add(int(value), times)
            case "number" if math.isfinite(number := float(value.replace(self._decimal, "."))):
                self._numbers.add(number, times)
            case "date" | "datetime":
                return kind if self._times.add(value) else "text"
            case "boolean":
                pass
            case _:
                return "text"
        return kind

    def summary(self, top: int) -> dict[str, Any]:
        """Returns the summary of the column, with the `top` most frequent values."""
        return {
            "name": self.name,
            "type": _common_type(self._types),
            "types": dict(sorted(self._types.items())),
            "values": sum(self._types.values()),
            "missing": self._missing,
            "distinct": self._top.distinct,
            "top": [{"value": value, "count": count} for value, count in self._top.most_frequent(top)],
            "top_may_undercount_by": self._top.undercount,
        } | self._extremes()

    def _extremes(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(self._numbers.summary() if self._numbers.count else self._times.summary())
        if self._longest:
            found |= {"min_length": self._shortest, "max_length": self._longest}
        return found


def _common_type(types: dict[str, int]) -> str:
    match sorted(types):
        case []:
            return "empty"
        case [kind]:
            return kind
        case ["integer", "number"]:
            return "number"
        case ["date", "datetime"]:
            return "datetime"
        case _:
            return "mixed"


class _Numbers:
    """The least, the greatest and the mean of numbers."""

    def __init__(self) -> None:
        self.count = 0
        self._least: float = math.inf
        self._greatest: float = -math.inf
        self._mean = 0.0

    def add(self, number: float, times: int) -> None:
        self.count += times
        self._least = min(self._least, number)
        self._greatest = max(self._greatest, number)
        # A running mean neither overflows nor loses small numbers beside a large sum. The two divisions, because the
        # difference of two huge numbers would overflow.
        self._mean += (number / self.count - self._mean / self.count) * times

    def summary(self) -> dict[str, float]:
        return {"min": self._least, "max": self._greatest, "mean": self._mean}


class _Times:
    """The first and the last of dates or times, as written in the file."""

    def __init__(self) -> None:
        self._first: tuple[datetime, str] | None = None
        self._last: tuple[datetime, str] | None = None

    def add(self, value: str) -> bool:
        """Count a date or a time. Returns False if it is none, such as 2025-02-30."""
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return False
        seen = (at if at.tzinfo else at.replace(tzinfo=UTC), value)
        self._first = min(self._first or seen, seen)
        self._last = max(self._last or seen, seen)
        return True

    def summary(self) -> dict[str, str]:
        return {"min": self._first[1], "max": self._last[1]} if self._first and self._last else {}


class TopValues:
    """Counts values: exactly up to `capacity` distinct ones, beyond that with counts that may be too small.

    This is Misra and Gries' summary in the batched form of Anderson et al., "A high-performance algorithm for
    identifying frequent items in data streams" (2017): when twice `capacity` values are held, the median count is
    subtracted from all counts, and values at or below it are dropped. So a count may be too small by `undercount`, is
    never too large, and every value that occurred more than `undercount` times is still held.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, int] = {}
        #: By how much a count may be too small; 0 while all counts are exact.
        self.undercount = 0

    @property
    def distinct(self) -> int | None:
        """Returns the number of distinct values; None once it is no longer known."""
        return None if self.undercount else len(self._counts)

    def add(self, value: str, times: int = 1) -> None:
        """Count `times` more occurrences of a value."""
        self._counts[value] = self._counts.get(value, 0) + times
        if len(self._counts) > 2 * self._capacity:
            self._forget()

    def most_frequent(self, number: int) -> list[tuple[str, int]]:
        """Returns the most frequent values with their counts; equal counts in alphabetical order."""
        # In an inexact summary a count of 1 means nothing: any other value may have occurred as often.
        known = [(value, count) for value, count in self._counts.items() if count > 1 or not self.undercount]
        return sorted(known, key=lambda item: (-item[1], item[0]))[:number]

    def _forget(self) -> None:
        middle = sorted(self._counts.values())[self._capacity]
        self._counts = {value: count - middle for value, count in self._counts.items() if count > middle}
        self.undercount += middle
