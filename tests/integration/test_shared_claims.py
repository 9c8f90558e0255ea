"""Brief jobs that one process claims together: each keeps its own fence, cancel, end and lines."""

from __future__ import annotations

import uuid
from datetime import timedelta

from ava.domain.jobs.job import Job, JobSpec, LogLevel, LogLine, RunKey, Status
from ava.domain.jobs.run_outcome import DURATION, Ending, RunOutcome
from ava.store.engine.database import Connection
from ava.store.jobs import rows
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import cancel as cancels
from ava.store.jobs.transitions import claim as claims
from ava.store.jobs.transitions import end as ends
from ava.store.jobs.transitions import log_lines
from ava.store.jobs.transitions import rescue as rescues
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.new_jobs import make_jobs
from tests.runs import stored_job

NODE, CLAIM, OTHER_CLAIM = (str(uuid.uuid4()) for _ in range(3))
TENANT = "ten_test"


def trigger(connection: Connection, count: int) -> list[Job]:
    specs = [JobSpec(worker_id="wkr_brief")] * count
    return make_jobs(connection, specs, tenant_id=TENANT)


def claim(connection: Connection, jobs: list[Job], run_no: int = 1, claim_id: str = CLAIM) -> dict[str, Job]:
    wanted = [RunKey(*job.key, run_no) for job in jobs]
    found = claims.claim_together(connection, wanted, worker_id="wkr_brief", node_id=NODE, claim_id=claim_id)
    return {job.id: job for job in found}


def cancel(connection: Connection, job: Job) -> None:
    assert cancels.cancel(connection, tenant_id=TENANT, user_id="usr_test", job_id=job.id)


def completed(job: Job, output: str = "{}") -> EndedRun:
    assert job.started_at
    seq, ends_at = job.run_no * log_lines.SEQ_PER_RUN, job.started_at + timedelta(milliseconds=5)
    return EndedRun.of(
        job,
        RunOutcome(run=job.run, ending=Ending.COMPLETED, elapsed_ms=5, output_json=output),
        claim_id=CLAIM,
        began_at=job.started_at,
        lines=[
            LogLine(seq=seq, ts=job.started_at, level=LogLevel.INFO, msg=log_lines.OPENING),
            LogLine(seq=seq + 1, ts=ends_at, level=LogLevel.INFO, msg='a "quoted" \\ line, {braces}'),
        ],
        closing=LogLine(seq=seq + 2, ts=ends_at, level=LogLevel.INFO, msg=f"Handler completed in {DURATION}"),
    )


def lines(connection: Connection, job: Job) -> list[tuple[str, str]]:
    statement = "SELECT level, msg FROM job_lines WHERE job_id = %(id)s::uuid ORDER BY seq"
    found = connection.exec_driver_sql(statement, {"id": lists.rows.job_uuid(job.id)})
    return [(level, msg) for level, msg in found]


def test_a_claim_takes_what_can_start_and_leaves_the_rest(connection: Connection) -> None:
    free, cancelled, lost, claimed_before = jobs = trigger(connection, 4)
    cancel(connection, cancelled)
    assert claims.claim(connection, claims.Claim(run=RunKey(*lost.key, 1), worker_id="wkr_brief", node_id=NODE))
    assert rescues.rescue(connection, run=RunKey(*lost.key, 1), node_id=NODE, msg="lost", error="e", is_loss=True)
    assert set(claim(connection, [claimed_before])) == {claimed_before.id}
    found = claim(connection, jobs, claim_id=OTHER_CLAIM)
    assert [(job.id, job.status, job.run_no, job.attempt) for job in found.values()] == [
        (free.id, Status.RUNNING, 1, 1)
    ]
    assert claims.claimed_together(connection, [RunKey(*free.key, 1)], claim_id=OTHER_CLAIM) == [
        stored_job(connection, free)
    ]
    # One that has lost a process runs alone: its number is right, its losses are not.
    assert not claim(connection, [lost], run_no=2)
    assert not claims.claim_together(
        connection, [RunKey(*free.key, 2)], worker_id="wkr_x", node_id=NODE, claim_id=CLAIM
    )


def test_ends_are_written_together_each_with_its_output_and_lines(connection: Connection) -> None:
    first, second, asked, lost = trigger(connection, 4)
    held = claim(connection, [first, second, asked, lost])
    cancel(connection, asked)
    rescues.rescue(connection, run=RunKey(*lost.key, 1), node_id=NODE, msg="lost", error="e", is_loss=True)
    all_completed = [completed(held[job.id], f'{{"name": "\\"{job.id}"}}') for job in (second, first, asked, lost)]
    statuses = ends.end_each(connection, all_completed)
    assert statuses == {first.key: Status.COMPLETED, second.key: Status.COMPLETED, asked.key: Status.CANCELLED}
    for job in (first, second):
        shown = stored_job(connection, job)
        assert (shown.status, shown.output_json, shown.error) == (Status.COMPLETED, f'{{"name": "\\"{job.id}"}}', None)
        assert shown.completed_at
        assert shown.started_at
        assert timedelta(milliseconds=4) < shown.completed_at - shown.started_at < timedelta(seconds=1)
        assert lines(connection, job) == [
            ("info", "Worker handler started"),
            ("info", 'a "quoted" \\ line, {braces}'),
            ("info", f"Handler completed in {shown.duration_ms}ms"),
        ]
    assert lines(connection, asked)[-1] == (
        "warn",
        f"Handler cancelled after {stored_job(connection, asked).duration_ms}ms",
    )
    assert stored_job(connection, lost).status is Status.QUEUED
    assert not ends.end_each(connection, all_completed)


def test_a_cancelled_run_that_is_returned_before_its_handler_ends_with_both_lines(connection: Connection) -> None:
    asked, free = trigger(connection, 2)
    claim(connection, [asked, free])
    cancel(connection, asked)
    assert rescues.release(connection, [(RunKey(*job.key, 1), CLAIM) for job in (asked, free)]) == 2
    shown = stored_job(connection, asked)
    assert shown.status is Status.CANCELLED
    assert lines(connection, asked) == [
        ("info", "Worker handler started"),
        ("warn", f"Handler cancelled after {shown.duration_ms}ms"),
    ]
    assert stored_job(connection, free).status is Status.QUEUED
    assert lines(connection, free) == []


def test_a_run_sees_a_cancel_and_a_lost_claim_before_it_begins(connection: Connection) -> None:
    (job,) = trigger(connection, 1)
    claim(connection, [job])
    for expected in (False, True):
        assert claims.check(connection, run=RunKey(*job.key, 1), claim_id=CLAIM) == claims.RunCheck(expected, False)
        if not expected:
            cancel(connection, job)
    assert claims.check(connection, run=RunKey(*job.key, 1), claim_id=OTHER_CLAIM) is None
    assert claims.check(connection, run=RunKey(*job.key, 2), claim_id=CLAIM) is None


def test_an_end_sees_a_cancel_and_a_lost_claim_of_the_next_run(connection: Connection) -> None:
    following, *first = trigger(connection, 5)
    claimed = claim(connection, [following, *first])
    run, checked = RunKey(*following.key, 1), []
    for number, job in enumerate(claimed[each.id] for each in first):
        if number == 1:
            cancel(connection, following)
        by = CLAIM if number < 3 else OTHER_CLAIM
        statuses, check = ends.end_and_check(connection, [completed(job)], run, by)
        assert statuses == {job.key: Status.COMPLETED}
        checked.append(check)
        assert ends.end_and_check(connection, [completed(job)], run, by) == ({}, check)
    cancelled = claims.RunCheck(is_to_be_cancelled=True, is_outranked=False)
    assert checked == [claims.NOTHING, cancelled, cancelled, None]


def test_a_run_sees_a_published_job_that_is_more_urgent(connection: Connection) -> None:
    (job,) = trigger(connection, 1)
    claim(connection, [job])
    (urgent,) = make_jobs(connection, [JobSpec(worker_id="wkr_brief", priority=3)], tenant_id=TENANT)

    def is_outranked(by: int = 4) -> bool:
        check = claims.check(connection, run=RunKey(*job.key, 1), claim_id=CLAIM, outranked_by=by)
        assert check
        return check.is_outranked

    def set_published(at: str) -> None:
        id_ = rows.job_uuid(urgent.id)
        connection.exec_driver_sql(f"UPDATE jobs SET published_at = {at} WHERE id = '{id_}'")

    set_published("now()")
    assert is_outranked()
    assert not is_outranked(by=2)
    # One that waits to be published may wait for a limit, and one whose message is lost is published again.
    for at in ("NULL", "now() - interval '2 seconds'"):
        set_published(at)
        assert not is_outranked()
    set_published("now()")
    claims.claim(
        connection, claims.Claim(run=RunKey(*urgent.key, 1), worker_id="wkr_brief", node_id=NODE, claim_id=OTHER_CLAIM)
    )
    assert not is_outranked()


def test_the_end_of_a_run_claims_no_other_while_a_more_urgent_job_is_published(connection: Connection) -> None:
    ended, other, following = trigger(connection, 3)
    of_ended, of_other = claim(connection, [ended, other]).values()
    make_jobs(connection, [JobSpec(worker_id="wkr_brief", priority=3)], tenant_id=TENANT)
    connection.exec_driver_sql("UPDATE jobs SET published_at = now() WHERE priority = 3")
    wanted = claims.Claim(run=RunKey(*following.key, 1), worker_id="wkr_brief", node_id=NODE, claim_id=OTHER_CLAIM)

    def end_and_claim(job: Job, by: int) -> tuple[Status | None, bool, bool]:
        status, begun, is_outranked = ends.end_and_claim(connection, completed(job), wanted, outranked_by=by)
        return status, begun is not None, is_outranked

    assert end_and_claim(of_ended, by=4) == (Status.COMPLETED, False, True)
    assert stored_job(connection, following).status is Status.QUEUED
    # A run that has lost its job looks in no queue.
    assert end_and_claim(of_other, by=2) == (Status.COMPLETED, True, False)
