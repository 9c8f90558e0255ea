"""Bounds of counts and lists: a count at its bound is a lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain import ids

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


@dataclass(frozen=True, kw_only=True)
class PageBounds:
    """The part of a list to read."""

    #: Max items.
    limit: int
    #: Number of items before the part, behind `after_id` if it is given.
    offset: int = 0
    #: The id of the last item before the part.
    after_id: str | None = None

    def before(self, prefix: str) -> dict[str, object]:
        """Return the parameters `limit`, `offset` and `before_id`, a UUID, of a list with the newest ids first."""
        before_id = None if self.after_id is None else ids.to_uuid(prefix, self.after_id)
        return {"limit": self.limit, "offset": self.offset, "before_id": before_id}
