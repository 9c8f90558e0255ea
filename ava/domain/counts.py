"""How far counts and lists go: a number that has reached its bound is a lower bound."""

from __future__ import annotations

#: The queued and the running jobs of one worker are counted up to here.
MAX_COUNTED_OF_WORKER = 10_000
#: Where tenants are listed, the waiting and the scheduled jobs of each are counted up to here together, and the running
#: ones as well.
MAX_COUNTED_OF_TENANT = 1_000
#: `total` is exact up to this number and stays at it beyond, because counting more would take longer than the list.
MAX_IN_TOTAL = 1_000
#: How many rows of a list `page` reaches. `cursor` reaches the rows beyond at the cost of a first page; a deep `page`
#: would read all rows before it.
DEEPEST_ROW = MAX_IN_TOTAL


def counted(count: int, *, is_exact: bool) -> int | str:
    """Returns a number as people read it: a lower bound says that there may be more."""
    return count if is_exact else f"{count:,} or more"
