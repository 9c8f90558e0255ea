"""What a firing does while the last job of its schedule is not final."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ava.dispatcher.duties.waiting_jobs import move_due_jobs, stop_overdue_jobs
from ava.domain import ids
from ava.domain.jobs.job import Job
from ava.domain.schedules.schedule_record import Overlap
from ava.settings import Settings
from ava.store.engine.database import dry_run
from tests.backlog import open_backlog
from tests.scheduled import CALLER, Scheduled


@pytest.fixture
def scheduled(database_settings: Settings) -> Iterator[Scheduled]:
    with open_backlog(database_settings) as backlog:
        yield Scheduled(backlog)


def test_one_job_waits_for_the_last_one_and_starts_when_it_is_final(scheduled: Scheduled) -> None:
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE)
    scheduled.fire(1)
    scheduled.start_last(schedule)
    scheduled.fire(2)
    scheduled.fire(3)
    assert [outcome for outcome, _ in scheduled.outcomes(schedule)] == ["fired", "fired", "skipped"]
    assert move_due_jobs(scheduled.backlog.database) == 0
    assert scheduled.backlog.count("waits_for = 'jobs'") == 1
    scheduled.fire(3.1)
    assert scheduled.backlog.count("waits_for = 'jobs'") == 1
    scheduled.backlog.run("UPDATE jobs SET status = 'completed', completed_at = now() WHERE status = 'running'")
    scheduled.wake()
    assert scheduled.backlog.count("status = 'queued' AND waits_for IS NULL") == 1
    scheduled.fire(4)
    # The released job is the last one now; the new one waits for it.
    assert scheduled.backlog.count("waits_for = 'jobs'") == 1


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_a_job_that_ended_while_it_waited_does_not_hide_the_one_that_runs(scheduled: Scheduled, end: str) -> None:
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE)
    scheduled.fire(1)
    first = scheduled.show(schedule).last_job_id
    scheduled.start_last(schedule)
    scheduled.fire(2)
    waiting = scheduled.show(schedule).last_job_id
    assert waiting is not None
    if end == "cancel":
        scheduled.service._jobs.cancel(CALLER, waiting)
    else:
        scheduled.backlog.run("UPDATE jobs SET deadline_at = now() WHERE waits_for = 'jobs'")
        stop_overdue_jobs(scheduled.backlog.database, scheduled.control)
        assert scheduled.backlog.count("status = 'failed'") == 1
    scheduled.fire(3)
    assert scheduled.backlog.count("waits_for = 'jobs'") == 1
    ((earlier,),) = scheduled.backlog.run(
        "SELECT e.after_id::text FROM job_edges AS e JOIN jobs AS j ON j.id = e.job_id WHERE j.waits_for = 'jobs'"
    )
    assert ids.encode("job", earlier) == first


def test_a_waiting_job_explains_what_it_waits_for(scheduled: Scheduled) -> None:
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE, timezone="Europe/Berlin")
    scheduled.fire(1)
    first = scheduled.show(schedule).last_job_id
    scheduled.start_last(schedule)
    scheduled.fire(2)
    waiting = scheduled.show(schedule).last_job_id
    assert waiting is not None
    explained = scheduled.service._jobs.explain(CALLER, waiting, node_dead_seconds=14)
    assert explained.sentence.startswith(f"queued: waits until {first} of the same schedule is final")
    assert f"created by schedule {schedule.id}, slot " in explained.sentence
    assert explained.sentence.endswith(" in Europe/Berlin")
    # The firing remains when the schedule is deleted, and the job goes on.
    scheduled.service.delete(CALLER, schedule.id)
    scheduled.wake()
    assert scheduled.backlog.count("status = 'queued' AND waits_for IS NULL") == 1
    assert f"created by schedule {schedule.id}, slot " in scheduled.service._jobs.explain(
        CALLER, waiting, node_dead_seconds=14
    ).sentence  # fmt: skip


def test_a_waiting_job_that_a_client_cancels_makes_room(scheduled: Scheduled) -> None:
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE)
    scheduled.fire(1)
    scheduled.start_last(schedule)
    scheduled.fire(2)
    scheduled.service._jobs.cancel(CALLER, str(scheduled.show(schedule).last_job_id))
    scheduled.fire(3)
    assert [outcome for outcome, _ in scheduled.outcomes(schedule)] == ["fired", "fired", "fired"]


def test_cancel_running_cancels_the_last_job_on_behalf_of_the_schedule(scheduled: Scheduled) -> None:
    schedule = scheduled.create(overlap=Overlap.CANCEL_RUNNING)
    scheduled.fire(1)
    scheduled.fire(2)
    scheduled.start_last(schedule)
    scheduled.fire(3)
    error = f"OverlapCancelled: the next job of {schedule.id} was created"
    assert scheduled.jobs("status, cancelled_by, cancel_requested_at IS NOT NULL, error") == [
        ("cancelled", schedule.id, True, error),
        ("running", schedule.id, True, error),
        ("queued", None, False, None),
    ]


def test_a_dry_run_of_a_change_revokes_no_job(scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    revoked: list[Job] = []
    monkeypatch.setattr("ava.services.due_firings.revoke_all", lambda _database, _control, jobs: revoked.extend(jobs))
    schedule = scheduled.create(overlap=Overlap.CANCEL_RUNNING)
    scheduled.fire(1)
    scheduled.start_last(schedule)
    passed = "now() - interval '2 minutes'"
    scheduled.backlog.run(f"UPDATE schedules SET next_run_at = {passed}, decided_until = {passed}")
    for change in ({"cron": "*/2 * * * *"}, {"cron": "*/3 * * * *"}):
        with dry_run():
            scheduled.service.change(CALLER, schedule.id, change)
        assert revoked == []
        assert scheduled.backlog.count("cancel_requested_at IS NOT NULL") == 0
    scheduled.service.change(CALLER, schedule.id, {"cron": "*/2 * * * *"})
    assert len(revoked) == 1


def test_a_schedule_that_allows_overlaps_for_a_while_queues_behind_its_last_job_again(scheduled: Scheduled) -> None:
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE)
    scheduled.fire(1)
    scheduled.start_last(schedule)
    scheduled.fire(2)
    scheduled.service.change(CALLER, schedule.id, {"overlap": Overlap.ALLOW})
    scheduled.fire(3)
    beside = scheduled.show(schedule).last_job_id
    # The job that waits for the first one still waits for it.
    assert scheduled.backlog.count("waits_for = 'jobs'") == 1
    scheduled.service.change(CALLER, schedule.id, {"overlap": Overlap.QUEUE_ONE})
    scheduled.fire(4)
    scheduled.fire(5)
    assert [outcome for outcome, _ in scheduled.outcomes(schedule)] == ["fired"] * 4 + ["skipped"]
    last = scheduled.show(schedule).last_job_id
    ((earlier,),) = scheduled.backlog.run(
        "SELECT after_id::text FROM job_edges WHERE job_id = %(id)s", id=ids.decode("job", str(last))
    )
    assert ids.encode("job", earlier) == beside
    for status, left in (("running", 1), ("queued", 0)):
        scheduled.backlog.run(
            "UPDATE jobs SET status = 'completed', started_at = coalesce(started_at, now()), completed_at = now()"
            f" WHERE status = '{status}' AND waits_for IS NULL"
        )
        scheduled.wake()
        assert scheduled.backlog.count("waits_for = 'jobs'") == left
