"""Schedules that handler modules declare, against a real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher.duties.schedules import DeclaredSchedules
from ava.domain.access.caller import Caller, Role
from ava.domain.counts import PageBounds
from ava.domain.declarations import Declaration, NodeDeclarations
from ava.domain.schedules.schedule_record import Schedule
from ava.domain.worker import DeclaredSchedule
from ava.errors import ScheduleDeclared
from ava.services.due_firings import DueFirings
from ava.services.jobs import Jobs
from ava.services.schedules import Schedules
from ava.settings import Settings
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.schedules.definitions import ScheduleFilter
from tests.backlog import WORKER, Backlog, open_backlog

CALLER = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.TENANT_SYSTEM_ADMIN)
NODES = [f"00000000-0000-7000-8000-00000000000{digit}" for digit in range(5)]


class Fleet:
    """Nodes that register, and the duty that compares their declarations."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        jobs = Jobs(backlog.database, Publisher(backlog.app, backlog.settings), Control(backlog.app))
        self.service = Schedules(backlog.database, jobs, max_schedules=1)
        self.duty = DeclaredSchedules(
            backlog.database, DueFirings(backlog.database, jobs.control), node_dead_seconds=15
        )

    def join(self, node: int, cron: str | None, *, version: str = "1.2", timezone: str = "UTC") -> None:
        """Register a node whose module `tasks` declares a schedule, or none."""
        declared = [] if cron is None else [Declaration("tasks", WORKER, DeclaredSchedule(cron, timezone, "ten_test"))]
        spec = NodeSpec(
            id=NODES[node],
            name=f"n{node}",
            host="h",
            pid=1,
            version=version,
            queues=["default"],
            workers=[WORKER],
            processes=1,
            declarations=NodeDeclarations(["tasks"], declared),
        )
        with self.backlog.database.connect() as connection:
            nodes.register(connection, spec)

    def leave(self, node: int) -> None:
        """A node stops."""
        with self.backlog.database.connect() as connection:
            nodes.deregister(connection, NODES[node])

    def schedules(self) -> list[Schedule]:
        """Compare once. Returns the schedules of the tenant."""
        self.duty.run_once(0)
        assert self.duty.run_once(0) == 0, "a second comparison changes nothing"
        return self.service.page(CALLER, ScheduleFilter(), bounds=PageBounds(limit=10))[0]

    def crons(self) -> list[str]:
        """Compare once. Returns the patterns."""
        return [schedule.cron for schedule in self.schedules()]


@pytest.fixture
def fleet(database_settings: Settings) -> Iterator[Fleet]:
    with open_backlog(database_settings) as backlog:
        yield Fleet(backlog)


def test_a_declaration_becomes_a_schedule_that_fires_and_goes_with_it(fleet: Fleet) -> None:
    fleet.join(0, "0 3 * * *", timezone="Europe/Berlin")
    (made,) = fleet.schedules()
    assert (made.worker_id, made.timezone, made.created_by.text) == (WORKER, "Europe/Berlin", "usr_handlers system")
    assert made.next_run_at is not None
    fleet.join(1, "0 4 * * *", timezone="Europe/Berlin")
    (changed,) = fleet.schedules()
    assert (changed.id, changed.cron, changed.next_run_at != made.next_run_at) == (made.id, "0 4 * * *", True)
    fleet.join(2, None)
    assert fleet.schedules() == []


def test_a_changed_declaration_drops_no_firing_time_that_is_past(fleet: Fleet) -> None:
    fleet.join(0, "* * * * *")
    (made,) = fleet.schedules()
    fleet.backlog.run("UPDATE schedules SET decided_until = now() - interval '1 min', next_run_at = now()")
    fleet.join(1, "0 4 * * *")
    fleet.schedules()
    found, _ = fleet.service.firings(CALLER, made.id, bounds=PageBounds(limit=10))
    assert [each.outcome for each in found] == ["fired"]


def test_the_higher_release_decides_and_of_one_release_the_later_start(fleet: Fleet) -> None:
    fleet.join(0, "0 3 * * *", version="1.10.0")
    fleet.join(1, "0 4 * * *", version="1.9.3")
    assert fleet.crons() == ["0 3 * * *"]
    fleet.join(2, "0 5 * * *", version="1.10.0")
    assert fleet.crons() == ["0 5 * * *"]
    fleet.join(3, "0 6 * * *", version="odd")
    assert fleet.crons() == ["0 5 * * *"]
    # A node that is gone has no say, whether it stopped or is silent.
    fleet.leave(2)
    assert fleet.crons() == ["0 3 * * *"]
    fleet.backlog.run("UPDATE nodes SET seen_at = now() - interval '1 min' WHERE version = '1.10.0'")
    assert fleet.crons() == ["0 4 * * *"]


def test_it_survives_an_outage_of_all_nodes_and_those_of_the_release_before(fleet: Fleet) -> None:
    fleet.join(0, "0 3 * * *")
    (made,) = fleet.schedules()
    fleet.leave(0)
    fleet.backlog.run(
        f"INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes) "
        f"VALUES ('{NODES[1]}', 'old', 'h', 1, '1.1', '{{default}}', '{{{WORKER}}}', 1)"
    )
    assert fleet.schedules() == [made]


def test_a_tenant_disables_it_but_cannot_redefine_it(fleet: Fleet) -> None:
    fleet.join(0, "0 3 * * *")
    (made,) = fleet.schedules()
    for changes in ({"cron": "0 5 * * *"}, {"timezone": "Asia/Tokyo"}):
        with pytest.raises(ScheduleDeclared):
            fleet.service.change(CALLER, made.id, changes)
    changes: dict[str, Any] = {"enabled": False, "input_json": '{"a": 1}', "cron": made.cron}
    fleet.service.change(CALLER, made.id, changes)
    fleet.join(1, "0 4 * * *")
    (found,) = fleet.schedules()
    assert (found.id, found.cron, found.enabled, found.next_run_at) == (made.id, "0 4 * * *", False, None)
    assert found.input_json == '{"a": 1}'
    fleet.service.delete(CALLER, made.id)
    (anew,) = fleet.schedules()
    assert (anew.id != made.id, anew.enabled) == (True, True)


def test_a_declaration_that_this_release_does_not_know_blocks_no_other(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.join(0, "0 3 * * *", timezone="Mars/Olympus")
    assert fleet.schedules() == []
    assert [record.message for record in caplog.records if "cannot be used" in record.message] == [
        "Declared schedule cannot be used: 'Mars/Olympus' is not a time zone of the IANA database; "
        "send a name such as Europe/Berlin or UTC"
    ]
    fleet.join(1, "0 3 * * *")
    assert len(fleet.schedules()) == 1
