"""The types of the store's statements, and their shared parts: settings of the planner and of commits, and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Seconds between replans of admission statements per connection. Planning takes longer than running them, and delays
#: the next start after the end of a job.
PLAN_SECONDS = 1.0

#: Prefix: the rest of the transaction uses indexes with the requested order instead of sorting. The tables change so
#: fast that the planner often believes a large one is nearly empty, and then sorts a whole smaller index for each
#: requested row. A long-running transaction blocks vacuum: an index with few rows then has many dead pages, and the
#: planner rates each row as expensive as all of another index.
IN_ORDER = "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true);"

#: Prefix: the rest of the transaction scans no whole table. PostgreSQL plans for tomorrow's partition while it is
#: empty, and keeps the plan after it has grown.
BY_INDEX = "SELECT set_config('enable_seqscan', 'off', true);"

#: The CTE `waiting`: each queue and priority with waiting jobs, found by one step in `jobs_startable` (a loose index
#: scan), so the cost depends on the number of such windows.
WAITING_WINDOWS = """waiting AS (
    (SELECT queue, priority FROM jobs WHERE status = 'queued' AND waits_for IS NULL ORDER BY queue, priority LIMIT 1)
    UNION ALL
    SELECT next.queue, next.priority FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.queue, j.priority FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for IS NULL AND (j.queue, j.priority) > (w.queue, w.priority)
        ORDER BY j.queue, j.priority LIMIT 1) AS next
)"""
#: An always true condition: the transaction does not wait for the disk, and others do not wait for its locks. A server
#: crash may undo it with all later asynchronous commits; a default commit also flushes all earlier ones (PostgreSQL
#: manual, "Asynchronous Commit"). For marks of the dispatcher, which sets them again. A run depends on such a mark only
#: through its claim, which commits by default.
IS_UNFLUSHED = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"


class Statement(str):
    """A whole statement with named parameters, `%(name)s`, as a constant of its module.

    `python -m ava.store.statements` prints every one. A `str`, so running it costs nothing more.
    """

    __slots__ = ()


class Deletion(Statement):
    """A statement that deletes at most `limit` old rows of a table. Calling it runs it, and returns their number.

    It does not wait for locked rows. `order`: the indexed column that finds the oldest rows first.
    """

    __slots__ = ()

    def __new__(cls, table: str, condition: str, *, order: str | None = None) -> Self:
        ordered = "" if order is None else f"ORDER BY {order} "
        return super().__new__(
            cls,
            f"""
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {table} WHERE {condition} {ordered}LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
""",
        )

    def __call__(self, connection: Connection, limit: int, **parameters: object) -> int:
        return connection.exec_driver_sql(self, parameters | {"limit": limit}).rowcount


def array(elements: Iterable[str]) -> str:
    """Return elements as an array literal. They must not need quotes: numbers, booleans, ids."""
    return "{" + ",".join(elements) + "}"


def text_array(values: Iterable[object]) -> str:
    """Return values as an array literal of quoted strings, which PostgreSQL casts to any type; None is null."""
    return array(["NULL" if value is None else _quoted(str(value)) for value in values])


def _quoted(string: str) -> str:
    escaped = string.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
