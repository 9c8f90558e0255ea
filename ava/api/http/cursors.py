"""Cursors: places in a list, opaque to clients, in the form of the ids."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

from ava.domain import ids

_PREFIX = "cur"
_LOG_PREFIX = "log"
_LOW = 2**64 - 1


def of_item(item_id: str) -> str:
    """Returns the place after the item of this id in a list."""
    return f"{_PREFIX}_{item_id.partition('_')[2]}"


def id_reader(prefix: str) -> Callable[[str], str | None]:
    """Returns a function that turns a cursor into the id of this prefix after which the page begins.

    It returns None if the text is no cursor.
    """

    def read(cursor: str) -> str | None:
        value = ids.decode(_PREFIX, cursor)
        return None if value is None else ids.encode(prefix, value)

    return read


def to_worker_id(cursor: str) -> str | None:
    """Returns the id of the worker after which the page begins; None if the text is no cursor of workers."""
    return f"wkr_{cursor.removeprefix('cur_')}" if ids.is_client_id(_PREFIX, cursor) else None


def of_line(job_id: str, seq: int) -> str:
    """Returns the place after a line of a job's log. It holds the random half of the job's id, so it fits no other."""
    return ids.encode(_LOG_PREFIX, UUID(int=_half(job_id) << 64 | seq + 1))


def to_line(job_id: str, cursor: str) -> int | None:
    """Returns the `seq` of the line before the page; None if the text is no cursor of this job's log."""
    value = ids.decode(_LOG_PREFIX, cursor)
    if value is None or value.int >> 64 != _half(job_id):
        return None
    seq = (value.int & _LOW) - 1
    return seq if -1 <= seq < 2**63 - 1 else None


# A stream has a place for each line of one job.
@lru_cache(maxsize=256)
def _half(job_id: str) -> int:
    value = ids.decode("job", job_id)
    return 0 if value is None else value.int & _LOW
