"""Schedules in a database, and a dispatcher's duty whose clock the test sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher.duties.schedules import fire_due_schedules
from ava.dispatcher.duties.wakes import Wakes
from ava.domain.access.caller import Caller, Role
from ava.domain.counts import PageBounds
from ava.domain.jobs.job import RunKey
from ava.domain.schedules.schedule_record import Schedule, ScheduleSpec
from ava.services.due_firings import DueFirings
from ava.services.jobs import Jobs
from ava.services.schedules import Schedules
from ava.store.jobs.transitions import claim
from tests.backlog import NODE, WORKER, Backlog

CALLER = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.TENANT_SYSTEM_ADMIN)
MINUTE = timedelta(minutes=1)


class Scheduled:
    """Schedules in a database, and a dispatcher's duty whose clock the test sets."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.control = Control(backlog.app)
        self.due = DueFirings(backlog.database, self.control)
        jobs = Jobs(backlog.database, Publisher(backlog.app, backlog.settings), self.control)
        self.service = Schedules(backlog.database, jobs, max_schedules=1000)
        [(self.now,)] = backlog.run("SELECT date_trunc('minute', now())")

    def create(self, **fields: Any) -> Schedule:
        """Create a schedule that fires each minute."""
        spec = ScheduleSpec(**{"worker_id": WORKER, "cron": "* * * * *", "timezone": "UTC", **fields})
        return self.service.create(CALLER, spec)[0]

    def fire(self, minutes: float) -> int:
        """Fire what is due some minutes from now."""
        return fire_due_schedules(self.backlog.database, self.due, now=self.now + minutes * MINUTE)

    def wake(self) -> int:
        """Continue the jobs whose waits are over."""
        return Wakes(self.backlog.database).run_once(0)

    def show(self, schedule: Schedule) -> Schedule:
        """Returns a schedule as it is now."""
        return self.service.show(CALLER, schedule.id)

    def outcomes(self, schedule: Schedule) -> list[tuple[str, str | None]]:
        """Returns the outcomes and reasons of a schedule's firings, oldest first."""
        found, _ = self.service.firings(CALLER, schedule.id, bounds=PageBounds(limit=100))
        return [(each.outcome.value, each.reason) for each in reversed(found)]

    def jobs(self, columns: str = "id") -> list[tuple[Any, ...]]:
        """Returns columns of all jobs, oldest first."""
        return self.backlog.run(f"SELECT {columns} FROM jobs ORDER BY id")

    def start_last(self, schedule: Schedule) -> None:
        """Start the last job of a schedule, as a node does."""
        job_id = self.show(schedule).last_job_id
        assert job_id is not None
        with self.backlog.database.connect() as connection:
            wanted = claim.Claim(run=RunKey(schedule.tenant_id, job_id, 1), worker_id=WORKER, node_id=NODE)
            assert claim.claim(connection, wanted)
