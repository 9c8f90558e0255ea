"""How far lists are counted, and how deep their pages go."""

from __future__ import annotations

#: `total` is exact up to this number and stays at it beyond, because counting more would take longer than the list.
MAX_IN_TOTAL = 1_000
#: How many rows of a list `page` reaches. `cursor` reaches the rows beyond at the cost of a first page; a deep `page`
#: would read all rows before it.
DEEPEST_ROW = MAX_IN_TOTAL
