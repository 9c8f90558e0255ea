"""Requests that read on a standby, if DATABASE_READ_URL names one."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, g, has_request_context

from ava.errors import ConnectionsBusy, DatabaseUnavailable, StatementTimeout
from ava.store.engine.standby import DatabaseWithStandby, StandbyRead

#: The milliseconds by which the standby that was read was behind the primary.
HEADER = "Ava-Replica-Lag-Ms"


def current_read() -> StandbyRead | None:
    """Returns what the current request reads on the standby; None if it reads on the primary, or there is none."""
    read: StandbyRead | None = g.get("standby_read") if has_request_context() else None
    return read


def respond(view: Callable[[], Response], database: object) -> Response:
    """Run a view that only reads, on the standby if there is one. If that fails there, run it on the primary."""
    if not isinstance(database, DatabaseWithStandby):
        return view()
    g.standby_read = read = StandbyRead()
    try:
        response = view()
    except (ConnectionsBusy, StatementTimeout):
        raise
    except DatabaseUnavailable:
        if read.lag_seconds is None:
            raise
        database.leave_standby("a statement failed there")
        g.standby_read = None
        return view()
    finally:
        # What the request starts and leaves behind, such as the writer of the audit trail, may share this `g`.
        g.standby_read = None
    if read.lag_seconds is not None:
        response.headers[HEADER] = str(round(read.lag_seconds * 1000))
    return response
