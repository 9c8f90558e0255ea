"""What clients read of a job's log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs.job import LogLevel
from ava.domain.limits.table import ANSWER_BYTES, SEARCHED_LINES
from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.rows import FoundLines

__all__ = ["LAST_SEQ", "LogRange", "log_lines"]

#: A `seq` after that of every line.
LAST_SEQ = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class LogRange:
    """Which lines of a log are wanted; None means any."""

    limit: int
    #: The lines after this `seq`, the oldest of them first.
    after_seq: int = -1
    #: If it is set: the lines before this `seq`, of which the last ones are wanted.
    before_seq: int | None = None
    level: LogLevel | None = None
    #: A part of the text, in either case of its letters.
    text: str | None = None
    #: The lines of this time or later.
    since: datetime | None = None

    @property
    def is_searched(self) -> bool:
        """Returns True if lines have to be looked at one by one."""
        return self.text is not None or self.since is not None


def _lines(*, of_level: bool, is_backward: bool) -> Statement:
    """Returns the statement that reads lines in one direction.

    No more is returned than begins within the bytes of an answer; `octet_length` reads no compressed text.
    """
    direction = "DESC" if is_backward else "ASC"
    # The driver writes the level into the statement, so the planner sees that `job_logs_not_info` has it. The order has
    # all of the index's columns, though three are constant; else the planner may prefer the primary key.
    level, order = (
        ("AND level = %(level)s", "tenant_id, job_id, level, seq") if of_level else ("", "tenant_id, job_id, seq")
    )
    ordered = ", ".join(f"{column} {direction}" for column in order.split(", "))
    return Statement(f"""{IN_ORDER}
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found,
        sum(octet_length(msg)) OVER (ORDER BY seq {direction}) - octet_length(msg) AS before
    FROM (
        SELECT seq, ts, level, msg FROM (
            SELECT seq, ts, level, msg FROM job_logs
            WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND seq > %(after)s AND seq < %(before)s {level}
            ORDER BY {ordered} LIMIT %(searched)s
        ) AS looked_at
        WHERE (%(text)s::text IS NULL OR strpos(lower(msg), lower(%(text)s)) > 0)
            AND (%(since)s::timestamptz IS NULL OR ts >= %(since)s::timestamptz)
        ORDER BY seq {direction} LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {ANSWER_BYTES.value} ORDER BY seq
""")


def _end_of_search(*, of_level: bool, is_backward: bool) -> Statement:
    direction = "DESC" if is_backward else "ASC"
    level = "AND level = %(level)s" if of_level else ""
    return Statement(f"""{IN_ORDER}
SELECT seq FROM job_logs
WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND seq > %(after)s AND seq < %(before)s {level}
ORDER BY seq {direction} OFFSET %(searched)s - 1 LIMIT 1
""")


_NEXT = _lines(of_level=False, is_backward=False)
_NEXT_OF_LEVEL = _lines(of_level=True, is_backward=False)
_LAST = _lines(of_level=False, is_backward=True)
_LAST_OF_LEVEL = _lines(of_level=True, is_backward=True)
_SEARCHED_NEXT = _end_of_search(of_level=False, is_backward=False)
_SEARCHED_NEXT_OF_LEVEL = _end_of_search(of_level=True, is_backward=False)
_SEARCHED_LAST = _end_of_search(of_level=False, is_backward=True)
_SEARCHED_LAST_OF_LEVEL = _end_of_search(of_level=True, is_backward=True)


def log_lines(connection: Connection, *, tenant_id: str, job_id: str, wanted: LogRange) -> FoundLines:
    """Returns lines of a job's log, oldest first, and no line that begins beyond the bytes of an answer.

    It looks at `SEARCHED_LINES` lines at most.
    """
    is_backward = wanted.before_seq is not None
    # One line more than asked for shows if there are more.
    limit = wanted.limit + 1
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "id": rows.job_uuid(job_id),
        "limit": limit,
        "after": wanted.after_seq,
        "before": LAST_SEQ if wanted.before_seq is None else wanted.before_seq,
        "searched": SEARCHED_LINES.value if wanted.is_searched else limit,
        "text": wanted.text,
        "since": wanted.since,
    }
    if wanted.level is None:
        statement, end = (_LAST, _SEARCHED_LAST) if is_backward else (_NEXT, _SEARCHED_NEXT)
    else:
        parameters["level"] = wanted.level.value
        statement = _LAST_OF_LEVEL if is_backward else _NEXT_OF_LEVEL
        end = _SEARCHED_LAST_OF_LEVEL if is_backward else _SEARCHED_NEXT_OF_LEVEL
    found = connection.exec_driver_sql(statement, parameters).all()
    kept = found[-wanted.limit :] if is_backward else found[: wanted.limit]
    has_more = bool(found) and len(kept) < found[0][4]
    looked_at_until = None
    if wanted.is_searched and not has_more:
        statement = end
        looked_at_until = connection.exec_driver_sql(statement, parameters).scalar()
    return FoundLines(
        lines=[rows.log_line(row[:4]) for row in kept],
        has_more=has_more or looked_at_until is not None,
        looked_at_until=looked_at_until,
    )
