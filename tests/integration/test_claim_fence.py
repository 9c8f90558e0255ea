"""A failover that lost transactions: two runs of one job may get one number, which the claim's id distinguishes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import Job, LogLevel, LogLine, RunEnd, RunKey, Status
from ava.settings import Settings
from ava.store.fleet import nodes
from ava.store.jobs.moves import claim, end, log_lines
from tests.backlog import NODE, WORKER, Backlog, open_backlog

OTHER_NODE = "01890000-0000-7000-8000-000000000002"
FIRST, SECOND = "01890000-0000-7000-8000-00000000000a", "01890000-0000-7000-8000-00000000000b"
LINE = LogLine(seq=log_lines.SEQ_PER_RUN + 1, ts=datetime(2026, 1, 1, tzinfo=UTC), level=LogLevel.INFO, msg="m")


@pytest.fixture
def stored(database_settings: Settings) -> Iterator[Backlog]:
    """Jobs alone, and a broker that is out of reach."""
    with open_backlog(database_settings) as backlog:
        yield backlog


@pytest.fixture
def job(stored: Backlog) -> Job:
    """A job whose first claim was lost by a failover, and that another node has claimed since, by the same number."""
    stored.join(NODE)
    stored.join(OTHER_NODE)
    [job] = stored.insert(1)
    assert stored.claim(job, claim_id=FIRST)
    stored.run(
        "UPDATE jobs SET status = 'queued', run_no = 0, attempt = 0, claim_id = NULL, node_id = NULL, started_at = NULL"
    )
    assert stored.claim(job, node_id=OTHER_NODE, claim_id=SECOND)
    return job


def _end(job: Job) -> RunEnd:
    return RunEnd(run=RunKey(*job.key, 1), status=Status.COMPLETED, elapsed_ms=1, output_json='"x"')


def test_the_run_of_a_lost_claim_can_write_nothing(stored: Backlog, job: Job) -> None:
    [following] = stored.insert(1)
    with stored.database.connect() as connection:
        assert not claim.owns_job(connection, run=RunKey(*job.key, 1), claim_id=FIRST)
        assert not log_lines.append(
            connection, run=RunKey(*job.key, 1), claim_id=FIRST, lines=[LINE], progress_json="1"
        )
        assert end.end(connection, _end(job), [LINE], claim_id=FIRST) is None
        wanted = claim.Claim(run=RunKey(*following.key, 1), worker_id=WORKER, node_id=NODE, claim_id=FIRST)
        status, claimed, _ = end.end_and_claim(connection, _end(job), [LINE], None, wanted, claim_id=FIRST)
    assert status is None
    assert claimed is not None
    assert stored.count("status = 'running' AND progress IS NULL") == 2
    assert stored.run("SELECT count(*) FROM job_logs WHERE msg = 'm'") == [(0,)]


def test_the_run_that_holds_the_job_writes(stored: Backlog, job: Job) -> None:
    with stored.database.connect() as connection:
        assert claim.owns_job(connection, run=RunKey(*job.key, 1), claim_id=SECOND)
        assert log_lines.append(connection, run=RunKey(*job.key, 1), claim_id=SECOND, lines=[LINE])
        assert end.end(connection, _end(job), [LINE], claim_id=SECOND) is Status.COMPLETED


def test_the_node_of_a_lost_claim_has_its_run_stopped(stored: Backlog, job: Job) -> None:
    with stored.database.connect() as connection:
        assert nodes.check_runs(connection, NODE, [RunKey(*job.key, 1)]).over == {RunKey(*job.key, 1)}
        assert nodes.check_runs(connection, OTHER_NODE, [RunKey(*job.key, 1)]).over == frozenset()
