"""How PostgreSQL plans statements that each have an index made for them."""

from __future__ import annotations

__all__ = ["IN_ORDER"]

#: Put before a statement, it makes the rest of the transaction use indexes in whose order rows are wanted, not others
#: whose rows are sorted then. The tables change so fast that the planner often takes a large one for nearly empty, and
#: then reads and sorts all rows of a smaller index for each row that is wanted.
IN_ORDER = "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true);"
