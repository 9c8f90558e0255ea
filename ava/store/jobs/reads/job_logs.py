"""Reads of a job's log for clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs.job import LogLevel
from ava.domain.limits.table import RESPONSE_BYTES, SEARCHED_LINES
from ava.store.engine.database import Connection
from ava.store.engine.statement import IN_ORDER, Statement
from ava.store.jobs import rows
from ava.store.jobs.rows import FoundLines
from ava.store.jobs.transitions.log_lines import LINES_PER_ROW

LAST_SEQ = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class LogRange:
    """The requested lines of a log; None means no restriction."""

    limit: int
    #: Oldest first.
    after_seq: int = -1
    #: If set: the last lines before this `seq`.
    before_seq: int | None = None
    level: LogLevel | None = None
    #: A part of the message, case-insensitive.
    search: str | None = None
    since: datetime | None = None

    @property
    def is_searched(self) -> bool:
        """Return True if lines must be checked individually."""
        return self.search is not None or self.since is not None


def after_seq(seq: str) -> str:
    """Return the condition that a line of `job_lines` has a greater `seq`, in a form that uses an index."""
    return f"first_seq > {seq} - {LINES_PER_ROW} AND seq > {seq}"


def _range(level: LogLevel | None, *, is_backward: bool) -> str:
    """Return a FROM item with conditions and order for the lines of a level, or all lines, in one direction.

    The rows are in index order and the lines of each row are sorted, so no more is read than requested.
    """
    direction = "DESC" if is_backward else "ASC"
    of_level = "" if level is None else f"AND level = '{level.value}'"
    if level in (LogLevel.WARN, LogLevel.ERROR):
        # For the planner, to use the partial index.
        of_level += f" AND levels LIKE '%%{level.value[0]}%%'"
    return f"""job_lines
            WHERE tenant_id = %(tenant_id)s AND job_id = %(id)s::uuid AND {after_seq("%(after)s")}
                AND first_seq < %(before)s AND seq < %(before)s {of_level}
            ORDER BY tenant_id {direction}, job_id {direction}, first_seq {direction}, seq {direction}"""


def _lines(level: LogLevel | None, *, is_backward: bool) -> Statement:
    """Return the statement that reads lines in one direction.

    It stops at the first line that begins beyond the size limit of a response.
    """
    direction = "DESC" if is_backward else "ASC"
    return Statement(f"""{IN_ORDER}
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found,
        sum(octet_length(msg)) OVER (ORDER BY seq {direction}) - octet_length(msg) AS before
    FROM (
        SELECT seq, ts, level, msg FROM (
            SELECT seq, ts, level, msg FROM {_range(level, is_backward=is_backward)}
            LIMIT %(searched)s
        ) AS searched
        WHERE (%(search)s::text IS NULL OR strpos(lower(msg), lower(%(search)s)) > 0)
            AND (%(since)s::timestamptz IS NULL OR ts >= %(since)s::timestamptz)
        ORDER BY seq {direction} LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {RESPONSE_BYTES.value} ORDER BY seq
""")


def _end_of_search(level: LogLevel | None, *, is_backward: bool) -> Statement:
    return Statement(f"""{IN_ORDER}
SELECT seq FROM {_range(level, is_backward=is_backward)}
OFFSET %(searched)s - 1 LIMIT 1
""")


_LEVELS = (None, *LogLevel)
_NEXT, _LAST = ({level: _lines(level, is_backward=back) for level in _LEVELS} for back in (False, True))
_SEARCHED_NEXT, _SEARCHED_LAST = (
    {level: _end_of_search(level, is_backward=back) for level in _LEVELS} for back in (False, True)
)


def log_lines(connection: Connection, *, tenant_id: str, job_id: str, wanted: LogRange) -> FoundLines:
    """Return lines of a job's log, oldest first, without lines that begin beyond the size limit of a response.

    Reads at most `SEARCHED_LINES` lines.
    """
    is_backward = wanted.before_seq is not None
    # One extra line shows whether there are more.
    limit = wanted.limit + 1
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "id": rows.job_uuid(job_id),
        "limit": limit,
        "after": wanted.after_seq,
        "before": LAST_SEQ if wanted.before_seq is None else wanted.before_seq,
        "searched": SEARCHED_LINES.value if wanted.is_searched else limit,
        "search": wanted.search,
        "since": wanted.since,
    }
    statement = (_LAST if is_backward else _NEXT)[wanted.level]
    found = connection.exec_driver_sql(statement, parameters).all()
    shown = found[-wanted.limit :] if is_backward else found[: wanted.limit]
    has_more = bool(found) and len(shown) < found[0][4]
    scanned_until = None
    if wanted.is_searched and not has_more:
        statement = (_SEARCHED_LAST if is_backward else _SEARCHED_NEXT)[wanted.level]
        scanned_until = connection.exec_driver_sql(statement, parameters).scalar()
    return FoundLines(
        lines=[rows.log_line(row[:4]) for row in shown],
        has_more=has_more or scanned_until is not None,
        scanned_until=scanned_until,
    )
