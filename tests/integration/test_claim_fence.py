"""A failover that lost transactions: two runs of one job may get one number, which the claim's id distinguishes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import Job, LogLevel, LogLine, RunKey
from ava.store.engine.database import Connection
from ava.store.fleet import nodes
from ava.store.jobs.reads import job_logs
from ava.store.jobs.reads.job_logs import LogRange
from ava.store.jobs.transitions import claim, end, log_lines
from ava.store.jobs.transitions.ended_runs import EndedRun
from tests.backlog import NODE, WORKER, Backlog
from tests.runs import ended

OTHER_NODE = "01890000-0000-7000-8000-000000000002"
FIRST, SECOND = "01890000-0000-7000-8000-00000000000a", "01890000-0000-7000-8000-00000000000b"
LINE = LogLine(seq=log_lines.SEQ_PER_RUN + 1, ts=datetime(2026, 1, 1, tzinfo=UTC), level=LogLevel.INFO, msg="m")


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


def _end(connection: Connection, job: Job, claim_id: str, lines: Sequence[LogLine] = (LINE,)) -> EndedRun:
    return ended(connection, RunKey(*job.key, 1), lines=lines, claim_id=claim_id, output_json='"x"')


def test_the_run_of_a_lost_claim_can_write_nothing(stored: Backlog, job: Job) -> None:
    [following] = stored.insert(1)
    with stored.database.connect() as connection:
        assert not claim.owns_job(connection, run=RunKey(*job.key, 1), claim_id=FIRST)
        assert not log_lines.append(
            connection, run=RunKey(*job.key, 1), claim_id=FIRST, lines=[LINE], progress_json="1"
        )
        assert end.end(connection, _end(connection, job, FIRST)) is None
        wanted = claim.Claim(run=RunKey(*following.key, 1), worker_id=WORKER, node_id=NODE, claim_id=FIRST)
        status, claimed, _ = end.end_and_claim(connection, _end(connection, job, FIRST), wanted)
    # An end that wrote nothing claims nothing.
    assert (status, claimed) == (None, None)
    assert stored.count("status = 'running' AND progress IS NULL") == 1
    assert stored.run("SELECT count(*) FROM job_lines WHERE msg = 'm'") == [(0,)]


def test_lines_that_are_stored_again_with_those_that_follow_are_there_once(stored: Backlog, job: Job) -> None:
    run = RunKey(*job.key, 1)
    written = [LogLine(seq=2**32 + n, ts=LINE.ts, level=LogLevel.INFO, msg=f"m{n}") for n in range(1, 40)]
    with stored.database.connect() as connection:
        for count in (5, 39, 20):
            assert log_lines.append(connection, run=run, claim_id=SECOND, lines=written[:count])
        lines = job_logs.log_lines(connection, tenant_id=job.tenant_id, job_id=job.id, wanted=LogRange(limit=100)).lines
    assert [line.msg for line in lines] == [log_lines.OPENING, *(f"m{n}" for n in range(1, 40))]
    assert stored.run("SELECT length(levels) FROM job_logs ORDER BY seq") == [(1,), (16,), (16,), (7,)]


def test_any_text_of_a_line_is_read_as_it_was_written(stored: Backlog, job: Job) -> None:
    run = RunKey(*job.key, 1)
    messages = ["", " ", "NULL", '"', "\\", '\\"', "{", "},{", ",", "'", "a\nb", "\u20ac", '{"a":["\\\\"]}', "%s %(a)s"]
    written = [
        LogLine(seq=2**32 + n, ts=LINE.ts, level=LogLevel.WARN, msg=message) for n, message in enumerate(messages, 1)
    ]
    closing = LogLine(seq=2**32 + len(messages) + 1, ts=LINE.ts, level=LogLevel.INFO, msg="the end")
    with stored.database.connect() as connection:
        assert log_lines.append(connection, run=run, claim_id=SECOND, lines=written[:4])
        assert end.end_each(connection, [_end(connection, job, SECOND, [*written[4:], closing])])
        lines = job_logs.log_lines(connection, tenant_id=job.tenant_id, job_id=job.id, wanted=LogRange(limit=100)).lines
    assert [line.msg for line in lines] == [log_lines.OPENING, *messages, "the end"]
    assert [line.level for line in lines] == [LogLevel.INFO] + [LogLevel.WARN] * len(messages) + [LogLevel.INFO]


def test_lines_that_are_stored_apart_may_be_stored_again_from_any_line(stored: Backlog, job: Job) -> None:
    run = RunKey(*job.key, 1)
    written = [LogLine(seq=2**32 + n, ts=LINE.ts, level=LogLevel.INFO, msg=f"m{n}") for n in range(1, 9)]
    with stored.database.connect() as connection:
        for part in (written[:5], written[3:8]):
            assert log_lines.append(connection, run=run, claim_id=SECOND, lines=part, are_apart=True)
    found = stored.run("SELECT msg FROM job_lines ORDER BY seq")
    assert found == [(log_lines.OPENING,), *((f"m{n}",) for n in range(1, 9))]


def test_the_node_of_a_lost_claim_has_its_run_stopped(stored: Backlog, job: Job) -> None:
    with stored.database.connect() as connection:
        assert nodes.check_runs(connection, NODE, [RunKey(*job.key, 1)]).over == {RunKey(*job.key, 1)}
        assert nodes.check_runs(connection, OTHER_NODE, [RunKey(*job.key, 1)]).over == frozenset()
