"""How far lists are counted, and how deep their pages go."""

from __future__ import annotations

__all__ = ["DEEPEST_ROW", "MOST_IN_TOTAL"]

#: `total` is exact up to this many; beyond, it stays at it. To count more would take longer than the list itself does,
#: and the longer the more there are.
MOST_IN_TOTAL = 1_000
#: How many rows of a list can be reached by `page`; what lies deeper is reached by `cursor`, at the same cost as the
#: first page, where a page would cost more the deeper it lies.
DEEPEST_ROW = MOST_IN_TOTAL
