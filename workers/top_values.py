"""Finds the most frequent of any number of values, in bounded memory."""

from __future__ import annotations


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
