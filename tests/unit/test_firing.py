"""What a due schedule does: catch-up, overlap, spread, its dates, and a worker that is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ava.domain.access.actor import Actor
from ava.domain.jobs.job import Status
from ava.domain.schedules.firing import (
    MAX_LISTED,
    DueSchedule,
    Firing,
    FiringDecision,
    Outcome,
    RunnableWorker,
    decide,
    firing_position,
    skip_delayed,
)
from ava.domain.schedules.schedule_record import CatchUp, Overlap, Schedule, spread_delay
from ava.domain.worker import WorkerStatus

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def _due(*, down_for: timedelta = MINUTE, **fields: Any) -> DueSchedule:
    """Returns a schedule whose firing times come each minute, and which was decided until so long ago."""
    facts = {name: fields.pop(name) for name in ("worker", "last_status", "has_waiting", "gone") if name in fields}
    schedule = Schedule(
        id="sch_01h455vb4pex5vsknk084sn02q",
        tenant_id="ten_test",
        worker_id="wkr_test",
        **{
            "cron": "* * * * *",
            "timezone": "Europe/Berlin",
            "decided_until": NOW - down_for,
            "next_run_at": NOW - down_for + MINUTE,
            "last_run_at": None,
            "last_job_id": "job_last",
            "created_by": Actor.parse("usr_test"),
            "created_at": NOW,
            "updated_at": NOW,
            **fields,
        },
    )
    worker = RunnableWorker()
    return DueSchedule(
        schedule=schedule, **{"worker": worker, "last_status": None, "has_waiting": False, "gone": 0, **facts}
    )


def test_a_week_of_missed_seconds_is_decided_at_once() -> None:
    week = {"cron": None, "timezone": None, "every_seconds": 1, "catch_up": CatchUp.ALL, "catch_up_seconds": 604_800}
    # In seconds of the processor, which a busy machine does not lengthen much.
    began = time.thread_time()
    decision = decide(_due(down_for=7 * DAY, **week), NOW)
    assert time.thread_time() - began < 1
    assert len(_fired(decision)) <= MAX_LISTED
    assert (decision.times[0].outcome, decision.decided_until) == (Outcome.MISSED, NOW)
    assert _fired(decision)[-1] == NOW
    assert decision.next_run_at == NOW + SECOND


def _outcomes(decision: FiringDecision) -> list[Outcome]:
    return [each.outcome for each in decision.times]


def _fired(decision: FiringDecision) -> list[datetime]:
    return [each.time.at for each in decision.times if each.outcome is Outcome.FIRED]


def test_a_firing_time_on_time_fires_and_the_next_one_is_scheduled() -> None:
    decision = decide(_due(), NOW + 0.2 * SECOND)
    assert _fired(decision) == [NOW]
    assert decision.times[0].lag_seconds == pytest.approx(0.2)
    assert (decision.decided_until, decision.next_run_at) == (NOW, NOW + MINUTE)
    assert decision.times[0].time.local_time == datetime(2026, 3, 2, 13, 0)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_firing_time_that_a_change_of_dispatchers_delays_is_not_missed(catch_up: CatchUp) -> None:
    assert _fired(decide(_due(catch_up=catch_up), NOW + 45 * SECOND)) == [NOW]


def test_nothing_due_only_writes_the_next_firing() -> None:
    decision = decide(_due(down_for=0 * SECOND), NOW + SECOND)
    assert (decision.times, decision.decided_until, decision.next_run_at) == ([], NOW, NOW + MINUTE)


# Missed --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "fired"), [(CatchUp.LAST, [10]), (CatchUp.NONE, [10]), (CatchUp.ALL, list(range(1, 11)))]
)
def test_catch_up_of_ten_minutes(catch_up: CatchUp, fired: list[int]) -> None:
    decision = decide(_due(down_for=10 * MINUTE, catch_up=catch_up), NOW + SECOND)
    assert _fired(decision) == [NOW - 10 * MINUTE + number * MINUTE for number in fired]
    assert len(decision.times) == 10
    missed = [each for each in decision.times if each.outcome is Outcome.MISSED]
    assert all(f"catch_up is {catch_up}" in (each.reason or "") for each in missed)


@pytest.mark.parametrize(("catch_up", "fired"), [(CatchUp.LAST, 1), (CatchUp.NONE, 0), (CatchUp.ALL, 2)])
def test_catch_up_of_firing_times_that_are_all_late(catch_up: CatchUp, fired: int) -> None:
    due = _due(down_for=120 * MINUTE, cron="30 * * * *", catch_up=catch_up, catch_up_seconds=6_000)
    decision = decide(due, NOW)
    # 10:30 and 11:30; the former is 5,400 s late.
    assert len(decision.times) == 2
    assert len(_fired(decision)) == fired
    assert decision.next_run_at == NOW + 30 * MINUTE


def test_no_firing_older_than_catch_up_seconds_is_caught_up() -> None:
    due = _due(down_for=120 * MINUTE, cron="30 * * * *", catch_up=CatchUp.ALL, catch_up_seconds=1_799)
    decision = decide(due, NOW)
    assert _fired(decision) == []
    assert decision.times[0].time.at == NOW - 90 * MINUTE
    # One entry stands for all that are older, so that a year costs no more than an hour.
    assert "represents every slot" in (decision.times[0].reason or "")


def test_a_year_without_dispatchers_is_decided_within_a_bound() -> None:
    due = _due(down_for=365 * DAY, catch_up=CatchUp.ALL, catch_up_seconds=7_200)
    decision = decide(due, NOW + SECOND)
    assert _fired(decision) == [NOW - number * MINUTE for number in range(MAX_LISTED - 1, -1, -1)]
    assert _outcomes(decision) == [Outcome.MISSED] + [Outcome.FIRED] * MAX_LISTED
    assert decision.times[0].time.at == NOW - 365 * DAY + MINUTE
    assert decision.decided_until == NOW


# The dates and the delay ----------------------------------------------------------------------------------------------


def test_the_first_moment_counts_and_the_last_does_not() -> None:
    due = _due(down_for=10 * MINUTE, catch_up=CatchUp.ALL, starts_at=NOW - 5 * MINUTE, ends_at=NOW)
    decision = decide(due, NOW + SECOND)
    assert _fired(decision) == [NOW - number * MINUTE for number in (5, 4, 3, 2, 1)]
    assert decision.next_run_at is None


def test_the_delay_is_constant_and_part_of_the_next_firing() -> None:
    delays = {spread_delay(f"sch_{number}", 600) for number in range(100)}
    assert len(delays) > 90
    assert all(timedelta(0) <= delay <= timedelta(seconds=600) for delay in delays)
    due = _due(down_for=DAY, cron="0 12 * * *", timezone="UTC", spread_seconds=600)
    delay = spread_delay(due.schedule.id, 600)
    assert delay > timedelta(0)
    assert _fired(decide(due, NOW + delay - 0.001 * SECOND)) == []
    decision = decide(due, NOW + delay)
    assert _fired(decision) == [NOW]
    assert decision.next_run_at == NOW + DAY + delay


# Overlap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_skip_makes_no_job_while_the_last_one_is_not_final(status: Status) -> None:
    decision = decide(_due(overlap=Overlap.SKIP, last_status=status), NOW)
    assert [(each.outcome, each.reason) for each in decision.times] == [
        (Outcome.SKIPPED, f"job_last is still {status} (overlap is skip)")
    ]
    assert decision.next_run_at == NOW + MINUTE


@pytest.mark.parametrize("overlap", Overlap)
def test_a_finished_previous_job_does_not_block_the_firing(overlap: Overlap) -> None:
    decision = decide(_due(overlap=overlap, last_status=Status.FAILED), NOW)
    assert _outcomes(decision) == [Outcome.FIRED]
    assert not decision.times[0].waits_for_earlier
    assert decision.cancels_job_id is None


def test_at_most_one_job_waits() -> None:
    running = _due(overlap=Overlap.QUEUE_ONE, last_status=Status.RUNNING)
    decision = decide(running, NOW)
    assert [each.waits_for_earlier for each in decision.times] == [True]
    assert _outcomes(decide(replace(running, has_waiting=True), NOW)) == [Outcome.SKIPPED]


def test_a_catch_up_of_one_at_a_time_makes_the_jobs_that_may_exist() -> None:
    for overlap, held in ((Overlap.SKIP, [False]), (Overlap.QUEUE_ONE, [False, True]), (Overlap.ALLOW, [False] * 4)):
        decision = decide(_due(down_for=4 * MINUTE, catch_up=CatchUp.ALL, overlap=overlap), NOW)
        assert [each.waits_for_earlier for each in decision.times if each.outcome is Outcome.FIRED] == held
    decision = decide(_due(down_for=4 * MINUTE, catch_up=CatchUp.ALL, overlap=Overlap.CANCEL_RUNNING), NOW)
    assert _fired(decision) == [NOW]


def test_cancel_running_names_the_job_to_cancel() -> None:
    decision = decide(_due(overlap=Overlap.CANCEL_RUNNING, last_status=Status.RUNNING), NOW)
    assert (decision.cancels_job_id, _outcomes(decision)) == ("job_last", [Outcome.FIRED])


def test_nothing_is_cancelled_for_a_firing_time_that_was_missed() -> None:
    due = _due(down_for=DAY, cron="0 9 * * *", overlap=Overlap.CANCEL_RUNNING, last_status=Status.RUNNING)
    assert decide(due, NOW).cancels_job_id is None


# The worker -----------------------------------------------------------------------------------------------------------


def test_three_firings_in_a_row_without_a_worker_disable_the_schedule() -> None:
    decision = decide(_due(worker=None, gone=1), NOW)
    assert [(each.outcome, each.reason) for each in decision.times] == [(Outcome.SKIPPED, "worker wkr_test is gone")]
    assert (decision.gone, decision.pause_reason, decision.next_run_at) == (2, None, NOW + MINUTE)
    decision = decide(_due(worker=None, gone=2), NOW)
    assert (decision.gone, decision.next_run_at) == (3, None)
    assert decision.pause_reason == "worker wkr_test was missing at 3 firings in a row"


def test_a_firing_with_a_worker_ends_the_count() -> None:
    assert decide(_due(gone=2), NOW).gone == 0


def test_a_catch_up_without_a_worker_counts_once() -> None:
    decision = decide(_due(worker=None, down_for=10 * MINUTE, catch_up=CatchUp.ALL), NOW)
    assert (decision.gone, set(_outcomes(decision))) == (1, {Outcome.SKIPPED})


def test_a_paused_worker_fires_because_its_jobs_wait() -> None:
    paused = RunnableWorker(status=WorkerStatus.PAUSED)
    assert _outcomes(decide(_due(worker=paused), NOW)) == [Outcome.FIRED]


@pytest.mark.parametrize(
    ("refusing", "reason"),
    [
        ({"status": WorkerStatus.DEPRECATED}, "worker wkr_test is deprecated"),
        ({"input_fault": "input.a: It is missing."}, "worker wkr_test refuses the input: input.a: It is missing."),
    ],
)
def test_a_worker_that_takes_no_such_job_skips_without_being_gone(refusing: dict[str, Any], reason: str) -> None:
    decision = decide(_due(worker=RunnableWorker(**refusing), gone=2), NOW)
    assert [each.reason for each in decision.times] == [reason]
    assert (decision.gone, decision.pause_reason) == (0, None)


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [0, 1])
def test_the_time_of_a_firing_survives_its_id(fold: int) -> None:
    local_time = datetime(2026, 10, 25, 2, 30, fold=fold)
    firing = Firing(local_time=local_time, at=NOW, outcome=Outcome.FIRED, reason=None, job_id="job_x")
    position = firing_position(firing.id)
    assert position is not None
    assert (position[0], position[1], position[1].fold) == (NOW, local_time, fold)


@pytest.mark.parametrize("string", ["", "fir_", "job_01h455vb4pex5vsknk084sn02q", "fir_7zzzzzzzzzzzzzzzzzzzzzzzzz"])
def test_an_invalid_firing_id_has_no_time(string: str) -> None:
    assert firing_position(string) is None


def test_firing_times_that_are_too_old_to_list_are_missed_once() -> None:
    due = _due(cron="0 * * * *", decided_until=NOW - 3 * 60 * MINUTE, catch_up_seconds=600)
    now = NOW + 30 * MINUTE
    first = decide(due, now)
    assert _outcomes(first) == [Outcome.MISSED]
    schedule = replace(due.schedule, decided_until=first.decided_until, next_run_at=first.next_run_at)
    assert first.next_run_at == NOW + 60 * MINUTE
    second = decide(replace(due, schedule=schedule), NOW + 60 * MINUTE)
    assert _outcomes(second) == [Outcome.FIRED]


def test_a_change_skips_the_firing_times_whose_delay_has_not_passed() -> None:
    due = _due(down_for=3 * MINUTE, spread_seconds=3600)
    assert 0 * SECOND < spread_delay(due.schedule.id, 3600) < MINUTE
    assert _outcomes(decide(due, NOW)) == [Outcome.MISSED, Outcome.FIRED]
    changed = skip_delayed(decide(due, NOW), NOW)
    assert _outcomes(changed) == [Outcome.MISSED, Outcome.FIRED, Outcome.SKIPPED]
    assert (changed.times[-1].time.at, changed.times[-1].job_uuid) == (NOW, None)


# Expiry --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "declared", "fired"), [(90, None, 2), (None, 90, 2), (200, 90, 4), (None, None, 10), (601, None, 10)]
)
def test_a_firing_that_would_be_born_expired_is_missed(own: int | None, declared: int | None, fired: int) -> None:
    due = _due(
        down_for=10 * MINUTE,
        catch_up=CatchUp.ALL,
        expires_in_seconds=own,
        worker=RunnableWorker(expires_in_seconds=declared),
    )
    decision = decide(due, NOW + SECOND)
    assert len(_fired(decision)) == fired
    assert {each.reason for each in decision.times if each.outcome is Outcome.MISSED} <= {"expired"}
