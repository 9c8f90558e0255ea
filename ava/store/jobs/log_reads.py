"""What clients read of a job's log. The caller has checked (`reads.show`) that the job is the tenant's."""

from __future__ import annotations

from ava.domain.job import LogLevel
from ava.domain.limits import ANSWER_BYTES
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.rows import FoundLines

__all__ = ["log_lines"]

# No more is returned than begins within the bytes of an answer; `octet_length` reads no compressed text.
_LOG_LINES = Statement(f"""
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(msg)) OVER (ORDER BY seq) - octet_length(msg) AS before FROM (
        SELECT seq, ts, level, msg FROM job_logs
        WHERE job_id = %(id)s::uuid AND seq > %(after)s
        ORDER BY seq LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {ANSWER_BYTES.value} ORDER BY seq
""")
# The driver writes the level into the statement, so the planner sees that `job_logs_not_info` has it. The order has all
# of the index's columns, though two are constant; else the planner may prefer the primary key.
_LOG_LINES_OF_LEVEL = Statement(f"""
SELECT seq, ts, level, msg, found FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(msg)) OVER (ORDER BY seq) - octet_length(msg) AS before FROM (
        SELECT seq, ts, level, msg FROM job_logs
        WHERE job_id = %(id)s::uuid AND seq > %(after)s AND level = %(level)s
        ORDER BY job_id, level, seq LIMIT %(limit)s
    ) AS next
) AS l WHERE before < {ANSWER_BYTES.value} ORDER BY seq
""")


def log_lines(
    connection: Connection, *, job_id: str, level: LogLevel | None, limit: int, after_seq: int = -1
) -> FoundLines:
    """Returns up to `limit` log lines of a job, oldest first, and no line that begins beyond the bytes of an answer.

    The caller has checked (`show`) that the job is the tenant's.
    """
    # One line more than asked for shows if there are more.
    parameters: dict[str, object] = {"id": rows.job_uuid(job_id), "limit": limit + 1, "after": after_seq}
    statement = _LOG_LINES
    if level is not None:
        statement, parameters["level"] = _LOG_LINES_OF_LEVEL, level.value
    found = connection.exec_driver_sql(statement, parameters).all()
    lines = [rows.log_line(row[:4]) for row in found[:limit]]
    return FoundLines(lines=lines, has_more=bool(found) and len(lines) < found[0][4])
