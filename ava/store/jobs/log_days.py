"""The partitions of log lines, each of one or several days of the jobs' ids, and the one for the rest.

The processes' role owns no table, so functions of the owner create and drop them (migration 0055).
"""

from __future__ import annotations

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["add", "days_ahead", "drop"]

_ADD = Statement("SELECT ava_add_log_days(%(ahead)s, %(width)s)")


def add(connection: Connection, *, days_ahead: int, width_days: int) -> int:
    """Create the partitions that begin before a day ahead. Returns their number; 0 also if a lock was not free."""
    return int(connection.exec_driver_sql(_ADD, {"ahead": days_ahead, "width": width_days}).scalar_one())


_DROP = Statement("SELECT ava_drop_log_days(%(kept_days)s, %(most_lines)s)")


def drop(connection: Connection, *, kept_days: float, most_lines: int) -> int:
    """Detach the oldest partition that no job needs, or drop one that is detached.

    Jobs that ended late may be left in it when it is older than `kept_days`. Fewer than `most_lines` lines of them move
    to the rest. Returns the number of partitions; 0 also if a lock was not free.
    """
    parameters = {"kept_days": kept_days, "most_lines": most_lines}
    return int(connection.exec_driver_sql(_DROP, parameters).scalar_one())


# The first 48 bits of an id are the milliseconds since 1970.
_DAYS_AHEAD = Statement("""
SELECT (('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000.0
        - extract(epoch FROM now())) / 86400.0 FROM ava_log_days()
""")


def days_ahead(connection: Connection) -> float:
    """Returns the days until the end of the last partition; negative if that is over."""
    return float(connection.exec_driver_sql(_DAYS_AHEAD).scalar_one())
