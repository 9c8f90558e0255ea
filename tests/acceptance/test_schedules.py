"""Schedules on the whole system: they make jobs, also if dispatchers are killed at any moment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.shifted_dispatcher import VARIABLE, set_clock
from harness.system import System

SCHEDULES = "/v1/ava/schedules"
MINUTE = timedelta(minutes=1)
#: Schedules, and slots of each, that fire while dispatchers are killed.
_SCHEDULES, _SLOTS = 1_000, 5


class ShiftedSystem:
    """A system whose schedules fire by a clock that the test moves."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self._file = folder / "clock"
        [(self.now,)] = system.query("SELECT now()")
        self.move(0)

    def move(self, minutes: int) -> None:
        """Move the clock on."""
        self.now += minutes * MINUTE
        set_clock(self._file, self.now)

    def start_dispatcher(self) -> RunningProcess:
        """Start one more dispatcher."""
        return self.system.spawn("dispatcher", module="harness.shifted_dispatcher", environ={VARIABLE: str(self._file)})

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create a schedule that fires each minute."""
        body = {"worker_id": "wkr_t_nothing", "cron": "* * * * *", "timezone": "Europe/Berlin", **fields}
        response = self.system.post(SCHEDULES, json=body)
        assert response.status_code == 201, response.text
        record: dict[str, Any] = response.json()["data"]
        # A minute before its first slot.
        self.now = datetime.fromisoformat(record["next_run_at"]) - MINUTE
        return record

    def count(self) -> int:
        """Returns the number of firings."""
        return int(self.system.query("SELECT count(*) FROM schedule_firings")[0][0])


@pytest.fixture
def shifted(system: System, tmp_path: Path) -> Iterator[ShiftedSystem]:
    return ShiftedSystem(system, tmp_path)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_schedule_runs_a_job_at_each_slot(shifted: ShiftedSystem) -> None:
    system = shifted.system
    system.start(dispatchers=0, concurrency=1, environ={"AVA_HANDLERS": "tests.acceptance.handlers"})
    shifted.start_dispatcher()
    schedule = shifted.create()
    shifted.move(1)
    [[job_id]] = wait_until(
        lambda: (
            [[each["job_id"] for each in system.get(f"{SCHEDULES}/{schedule['id']}/firings").json()["data"]]]
            if shifted.count()
            else None
        ),
        what="a firing",
    )
    job = system.wait_for(job_id, "completed")
    assert (job["trigger"], job["triggered_by"], job["scheduled_at"]) == (
        "scheduled",
        schedule["id"],
        schedule["next_run_at"],
    )
    why = system.get(f"/v1/ava/jobs/{job_id}/why").json()["data"]["sentence"]
    slot = datetime.fromisoformat(schedule["next_run_at"]).strftime("%M")
    assert f"created by schedule {schedule['id']}, slot " in why
    assert why.endswith(f":{slot} in Europe/Berlin")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_three_dispatchers_that_are_killed_at_random_fire_each_slot_once(shifted: ShiftedSystem) -> None:
    system = shifted.system
    # No node has the handler, so the jobs wait.
    system.start(workers=0, dispatchers=0)
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_t_nothing', 'Nothing', 60, 0, 10, 'default', 'requeue')"
    )
    shifted.create(catch_up="all")
    system.query(
        "INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)"
        " SELECT tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,"
        " catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by"
        " FROM schedules, generate_series(2, %s)",
        _SCHEDULES,
    )
    rng = random.Random(18)
    dispatchers = [shifted.start_dispatcher() for _ in range(3)]
    for fired in range(0, _SCHEDULES * _SLOTS, _SCHEDULES):
        shifted.move(1)
        # Somewhere in the slots of this minute: between two statements, or in one.
        threshold = fired + rng.randrange(_SCHEDULES)
        wait_until(lambda least=threshold: shifted.count() >= least, seconds=60)  # type: ignore[misc]
        dispatchers.pop(rng.randrange(3)).kill()
        dispatchers.append(shifted.start_dispatcher())
    wait_until(lambda: shifted.count() >= _SCHEDULES * _SLOTS, seconds=60)
    expected = {shifted.now - number * MINUTE for number in range(_SLOTS)}
    found = system.query(
        "SELECT schedule_id, array_agg(at), count(job_id), bool_and(outcome = 'fired') FROM schedule_firings GROUP BY 1"
    )
    assert len(found) == _SCHEDULES
    assert all(set(ats) == expected and jobs == len(ats) == _SLOTS and fired for _, ats, jobs, fired in found)
    jobs = "SELECT count(*), count(DISTINCT (triggered_by, scheduled_at)) FROM jobs WHERE trigger = 'scheduled'"
    assert system.query(jobs) == [(_SCHEDULES * _SLOTS, _SCHEDULES * _SLOTS)]
    assert system.query(
        "SELECT count(*) FROM schedule_firings AS f JOIN jobs AS j ON j.id = f.job_id AND j.scheduled_at = f.at"
    ) == [(_SCHEDULES * _SLOTS,)]
