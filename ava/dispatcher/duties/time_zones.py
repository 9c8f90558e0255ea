"""Duty: recompute next firings when the time zone data of this installation changes."""

from __future__ import annotations

import logging
from datetime import datetime

from ava.dispatcher.duty import Duty
from ava.domain.schedules.schedule_record import Schedule
from ava.domain.schedules.time_zones import timezone_data_version
from ava.store.engine.database import Database
from ava.store.schedules import time_zones

_log = logging.getLogger(__name__)

_SCHEDULES_PER_STATEMENT = 500


class TimeZoneData(Duty):
    """Computes the next firing anew of schedules whose own comes from another version of the data.

    Firing times that are decided stay decided: the first one after them is computed. The duty that fires uses the same
    data.
    """

    name = "time_zones"
    changes = "next firings computed anew, because the time zone data has changed"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def run_once(self, _now: float) -> int:
        """Recompute one batch. Returns the number of schedules."""
        version = timezone_data_version()
        with self._database.transaction() as connection:
            found = time_zones.claim_outdated(connection, version=version, limit=_SCHEDULES_PER_STATEMENT)
            if found:
                next_runs = [(schedule, _next_run(schedule)) for schedule in found]
                time_zones.write_next_runs(connection, next_runs, version=version)
        return len(found)


def _next_run(schedule: Schedule) -> datetime | None:
    try:
        return schedule.first_run(schedule.id, schedule.decided_until)
    except Exception:
        # The data may no longer have its zone. The duty that fires logs it at the time of the firing.
        _log.exception("Schedule's next firing could not be computed", extra={"schedule_id": schedule.id})
        return schedule.next_run_at
