"""Bounds of counts and lists: a count at its bound is a lower bound."""

from __future__ import annotations

#: Max counted queued and running jobs of one worker.
MAX_COUNTED_OF_WORKER = 10_000
#: In lists of tenants: maximum counted jobs per tenant that wait or are scheduled, together; and that run.
MAX_COUNTED_OF_TENANT = 1_000
#: `total` is exact up to this number, because counting more would take longer than the list.
MAX_IN_TOTAL = 1_000
#: Maximum row that `page` reaches, because a deep page reads all rows before it. `cursor` reaches the others at the
#: cost of a first page.
DEEPEST_ROW = MAX_IN_TOTAL


def counted(count: int, *, is_exact: bool) -> int | str:
    """Return a count for display; an inexact one is marked as a lower bound."""
    return count if is_exact else f"{count:,} or more"
