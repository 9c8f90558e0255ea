"""A run or job that is named with another tenant is no run or job: nothing is read of it, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.domain.jobs.job import JobKey, LogLevel, LogLine, RunKey
from ava.domain.jobs.run_outcome import Ending
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.fleet import nodes
from ava.store.jobs import old_jobs, replication
from ava.store.jobs.reads import job_logs, watches
from ava.store.jobs.reads.job_logs import LogRange
from ava.store.jobs.reads.watches import LogPosition
from ava.store.jobs.transitions import cancel, claim, end, log_lines, park, permits, recall, rescue
from ava.store.jobs.transitions.ended_runs import EndedRun
from tests.backlog import NODE, WORKER, Backlog, open_backlog
from tests.runs import ended

CLAIM = "01890000-0000-7000-8000-00000000000a"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINE = LogLine(seq=log_lines.SEQ_PER_RUN + 1, ts=NOW, level=LogLevel.INFO, msg="m")

#: What is done with a run, and what is found of it.
Act = Callable[[Connection, RunKey], Any]


@pytest.fixture
def stored(database_settings: Settings) -> Iterator[Backlog]:
    """Jobs alone, and a broker that is out of reach."""
    with open_backlog(database_settings) as backlog:
        backlog.join(NODE)
        yield backlog


def _wanted(run: RunKey) -> claim.Claim:
    return claim.Claim(run=run, worker_id=WORKER, node_id=NODE, claim_id=CLAIM)


def _ended(connection: Connection, run: RunKey, ending: Ending = Ending.COMPLETED, **more: Any) -> EndedRun:
    return ended(connection, run, ending, [LINE], claim_id=CLAIM, **more)


QUEUED: dict[str, Act] = {
    "claim": lambda c, run: claim.claim(c, _wanted(run)),
    "claim together": lambda c, run: claim.claim_together(c, [run], worker_id=WORKER, node_id=NODE, claim_id=CLAIM),
    "recall": lambda c, run: recall.recall_runs(c, [run]),
    "park": lambda c, run: park.park_unclaimed(c, run=run, worker_id=WORKER, lacks_handler=True),
    "another worker": lambda c, run: claim.names_other_worker(c, run=run, worker_id="wkr_x"),
}
RUNNING: dict[str, Act] = {
    "claimed": lambda c, run: claim.claimed(c, _wanted(run)),
    "claimed together": lambda c, run: claim.claimed_together(c, [run], claim_id=CLAIM),
    "check": lambda c, run: claim.check(c, run=run, claim_id=CLAIM),
    "ownership": lambda c, run: claim.owns_job(c, run=run, claim_id=CLAIM),
    "show": claim.show,
    "lines": lambda c, run: log_lines.append(c, run=run, claim_id=CLAIM, lines=[LINE], progress_json="1"),
    "end": lambda c, run: end.end(c, _ended(c, run, output_json='"x"')),
    "end together": lambda c, run: end.end_each(c, [_ended(c, run, began_at=NOW)]),
    "requeue": lambda c, run: end.end(c, _ended(c, run, Ending.RETRIED, delay_seconds=1.0)),
    "release": lambda c, run: rescue.release(c, [(run, CLAIM)]),
    "rate": lambda c, run: permits.defer_rate(c, run=run, claim_id=CLAIM, seconds=60),
    "rescue": lambda c, run: rescue.rescue(c, run=run, node_id=NODE, msg="m", error="e: e", is_loss=True),
    "kill": lambda c, run: rescue.end_killed_run(c, run=run, error="e: e"),
    "cancel": lambda c, run: cancel.cancel(c, tenant_id=run.tenant_id, user_id="usr_a", job_id=run.job_id),
    "directives": lambda c, run: nodes.check_runs(c, NODE, [run]).running_seconds,
    "log": lambda c, run: job_logs.log_lines(
        c, tenant_id=run.tenant_id, job_id=run.job_id, wanted=LogRange(limit=9)
    ).lines,
    "follower": lambda c, run: watches.lines_after(
        c, [LogPosition(number=1, job=JobKey(*run[:2]), after_seq=-1)]
    ),
    "replication": lambda c, run: replication.position_of_jobs(c, [JobKey(*run[:2])]),
}  # fmt: skip


def _rows(stored: Backlog) -> list[tuple[Any, ...]]:
    return stored.run("SELECT j::text FROM jobs AS j UNION ALL SELECT l::text FROM job_logs AS l ORDER BY 1")


def _check(stored: Backlog, act: Act, run: RunKey) -> None:
    before = _rows(stored)
    with stored.database.connect() as connection:
        assert not act(connection, run._replace(tenant_id="ten_of_others"))
    assert _rows(stored) == before
    with stored.database.connect() as connection:
        assert act(connection, run)


@pytest.mark.parametrize("act", QUEUED.values(), ids=QUEUED)
def test_a_queued_job_is_named_by_its_tenant_and_its_id(stored: Backlog, act: Act) -> None:
    [job] = stored.insert(1, is_published=True)
    _check(stored, act, job.next_run)


@pytest.mark.parametrize("act", RUNNING.values(), ids=RUNNING)
def test_a_running_job_is_named_by_its_tenant_and_its_id(stored: Backlog, act: Act) -> None:
    [job] = stored.insert(1, is_published=True)
    claimed = stored.claim(job, claim_id=CLAIM)
    assert claimed is not None
    stored.run("UPDATE jobs SET limit_key = worker_id, rate_key = worker_id")
    _check(stored, act, claimed.run)


def test_retention_deletes_the_lines_and_the_job_of_the_tenant_alone(stored: Backlog) -> None:
    [job] = stored.insert(1)
    assert stored.claim(job, claim_id=CLAIM)
    stored.run(
        "UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(),"
        " stop_status = 'cancelled', completed_at = now() - interval '9 days'"
    )
    retention = old_jobs.JobRetention(default=1, shortest=1, longest=2)
    with stored.database.connect() as connection:
        found = old_jobs.scan(connection, retention, after=old_jobs.FIRST_POSITION, limit=10)
        ((tenant_id, uuid),) = found.old
        others = old_jobs.Scanned(count=1, old=[("ten_of_others", uuid)], oldest=[], position=found.position)
        assert (old_jobs.delete_lines(connection, others, limit=9), old_jobs.delete(connection, others)) == (0, 0)
        assert (old_jobs.delete_lines(connection, found, limit=9), old_jobs.delete(connection, found)) == (1, 1)
    assert tenant_id == job.tenant_id
