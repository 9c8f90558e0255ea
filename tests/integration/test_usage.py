"""What runs have used: written by the statements that end them, shown of jobs and of runs, and added up."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.waiting_jobs import move_due_jobs
from ava.domain.jobs.job import LogLevel, LogLine, RunKey
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.usage import RunUsage
from ava.domain.jobs.waits import Wait, WaitCondition
from ava.store.jobs.transitions import claim, end, log_lines, rescue, wait
from ava.store.jobs.transitions.claim import Claim
from harness.api import NODE, Api
from tests.integration.test_pages import walk
from tests.runs import ended

CLAIM = str(uuid.uuid4())


def begin(api: Api, job: dict[str, Any], run_no: int = 1, *, waited: float = 2) -> RunKey:
    """Claim a run that has waited for so many seconds. Returns it."""
    column = "created_at" if run_no == 1 else "created_at = now() - interval '1 hour', ready_at"
    api.execute(f"UPDATE jobs SET {column} = now() - {waited} * interval '1 second' WHERE status = 'queued'")
    run = RunKey(job["tenant_id"], job["id"], run_no)
    with api.database.connect() as connection:
        assert claim.claim(connection, Claim(run=run, worker_id=job["worker_id"], node_id=NODE, claim_id=CLAIM))
    return run


def line(run: RunKey, message: str) -> LogLine:
    return LogLine(seq=run.run_no * log_lines.SEQ_PER_RUN + 9, ts=datetime.now(UTC), level=LogLevel.INFO, msg=message)


def finish(
    api: Api, run: RunKey, ending: Ending = Ending.COMPLETED, *, cpu_us: int | None, peak: int | None, **more: Any
) -> None:
    usage = RunUsage(cpu_us=cpu_us, peak_memory_mb=peak)
    with api.database.connect() as connection:
        how = ended(connection, run, ending, [line(run, "the end")], claim_id=CLAIM, usage=usage, **more)
        assert end.end(connection, how)


def shown(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = api.get(f"/v1/ava/jobs/{job['id']}").get_json()["data"]
    return record


def runs_of(api: Api, job: dict[str, Any]) -> list[tuple[Any, ...]]:
    found = api.get(f"/v1/ava/jobs/{job['id']}/runs?per_page=100").get_json()["data"]
    return [(run["outcome"], run["cpu_ms"], run["peak_memory_mb"], seconds(run["wait_ms"])) for run in found]


def seconds(milliseconds: int | None) -> int | None:
    # What the test itself takes is left out.
    return None if milliseconds is None else milliseconds // 1000


def usage(api: Api, job: dict[str, Any]) -> tuple[Any, ...] | None:
    found = shown(api, job)["usage"]
    return None if found is None else (found["cpu_ms"], found["peak_memory_mb"], seconds(found["wait_ms"]))


def test_a_single_run_is_all_of_its_job(api: Api) -> None:
    job = api.trigger()
    assert job["usage"] is None
    run = begin(api, job)
    assert usage(api, job) == (None, None, 2)
    finish(api, run, cpu_us=41_600, peak=71)
    assert usage(api, job) == (42, 71, 2)
    assert runs_of(api, job) == [("completed", 42, 71, 2)]
    assert api.execute("SELECT ready_at FROM jobs") == [(None,)]
    assert api.execute("SELECT count(*) FROM job_runs") == [(0,)]
    assert list(shown(api, job))[-3] == "usage"


def test_several_runs_are_added_up_and_each_is_kept(api: Api) -> None:
    api.execute("UPDATE workers SET max_retries = 5")
    job = api.trigger()
    finish(api, begin(api, job), Ending.RETRIED, cpu_us=10_000, peak=90, delay_seconds=0.0)
    assert usage(api, job) == (10, 90, 2)
    with api.database.connect() as connection:
        api.execute("UPDATE jobs SET run_at = now() - interval '1 second'")
    move_due_jobs(api.database)
    run = begin(api, job, 2, waited=3)
    assert usage(api, job) == (10, 90, 5)
    with api.database.connect() as connection:
        rescue.rescue(
            connection, run=run, node_id=NODE, msg="Handler lost: it died", error="WorkerLost: x", is_loss=True,
            usage=RunUsage(cpu_us=5_000, peak_memory_mb=None),
        )  # fmt: skip
    finish(api, begin(api, job, 3, waited=4), cpu_us=1_000, peak=60)
    assert usage(api, job) == (16, 90, 9)
    assert runs_of(api, job) == [("failed", 10, 90, 2), ("lost", 5, None, 3), ("completed", 1, 60, 4)]


def test_a_killed_run_has_used_what_its_node_saw(api: Api) -> None:
    job = api.trigger()
    run = begin(api, job)
    with api.database.connect() as connection:
        rescue.end_killed_run(
            connection, run=run, node_id=NODE, error="MemoryExceeded: 9 of 8 MiB",
            usage=RunUsage(cpu_us=7_000, peak_memory_mb=9),
        )  # fmt: skip
    assert usage(api, job) == (7, 9, 2)


def test_the_runs_of_a_claim_are_told_apart(api: Api) -> None:
    jobs = [api.trigger() for _ in range(3)]
    completed: list[tuple[RunKey, RunUsage]] = []
    for number, job in enumerate(jobs):
        run = begin(api, job)
        used = RunUsage(cpu_us=1000 * number, peak_memory_mb=None if number == 1 else 60 + number)
        completed.append((run, used))
    with api.database.connect() as connection:
        now = datetime.now(UTC)
        end.end_each(
            connection,
            [
                ended(connection, run, lines=[line(run, "the end")], claim_id=CLAIM, usage=used, began_at=now)
                for run, used in completed
            ],
        )
    assert [(shown(api, job)["usage"] or {})["cpu_ms"] for job in jobs] == [0, 1, 2]
    assert [(shown(api, job)["usage"] or {})["peak_memory_mb"] for job in jobs] == [60, None, 62]


def test_a_run_that_has_not_begun_has_used_nothing_and_waits_on(api: Api) -> None:
    job = api.trigger()
    run = begin(api, job)
    with api.database.connect() as connection:
        assert rescue.release(connection, [(run, CLAIM)]) == 1
    assert usage(api, job) is None
    api.execute("UPDATE jobs SET created_at = now() - interval '7 seconds'")
    with api.database.connect() as connection:
        wanted = Claim(run=run._replace(run_no=2), worker_id=job["worker_id"], node_id=NODE, claim_id=CLAIM)
        assert claim.claim(connection, wanted)
    assert usage(api, job) == (None, None, 7)


def test_the_time_of_a_wait_is_no_waiting_to_start(api: Api) -> None:
    job = api.trigger()
    run = begin(api, job)
    asked = Wait(condition=WaitCondition.TIME, timeout_seconds=60.0)
    lines, used = [line(run, "Handler waits for 60 s")], RunUsage(cpu_us=3_000, peak_memory_mb=5)
    with api.database.connect() as connection:
        wait.end_waiting(
            connection, ended(connection, run, Ending.WAITED, lines, claim_id=CLAIM, wait=asked, usage=used)
        )
    ((until_start,),) = api.execute("SELECT extract(epoch FROM ready_at - now())::float8 FROM jobs")
    assert until_start == pytest.approx(60, abs=5)
    api.execute("UPDATE jobs SET run_at = now() - interval '1 second'")
    move_due_jobs(api.database)
    finish(api, begin(api, job, 2, waited=1), cpu_us=4_000, peak=4)
    assert usage(api, job) == (7, 5, 3)
    assert runs_of(api, job) == [("waits", 3, 5, 2), ("completed", 4, 4, 1)]


def test_the_runs_of_a_job_with_many_are_read_in_pages_and_the_last_is_its_own(api: Api) -> None:
    job = api.trigger()
    begin(api, job)
    api.execute(
        "INSERT INTO job_runs (tenant_id, job_id, run_no, attempt, started_at, outcome)"
        " SELECT tenant_id, id, n, 1, now(), 'lost' FROM jobs, generate_series(1, 4) AS n"
    )
    api.execute("UPDATE jobs SET run_no = 5")
    path = f"/v1/ava/jobs/{job['id']}/runs"
    expected = ["lost"] * 4 + [None]
    for per_page in (1, 2, 4, 5):
        pages = list(walk(api, path, per_page=per_page))
        assert {page["pagination"]["total"] for page in pages} == {5}
        assert [run["outcome"] for page in pages for run in page["data"]] == expected, per_page
        numbered = [api.get(f"{path}?per_page={per_page}&page={n}").get_json()["data"] for n in range(1, 7)]
        assert [run["outcome"] for page in numbered for run in page] == expected, per_page


def test_analytics_add_up_what_jobs_have_used(api: Api) -> None:
    for cpu_us in (300, 300, 1_400):
        finish(api, begin(api, api.trigger()), cpu_us=cpu_us, peak=1)
    EndedJobs(api.database).run_once(0)
    EndedJobs(api.database).run_once(0)
    found = api.get("/v1/ava/analytics", query_string={"group_by": "day"}).get_json()["data"]
    # Microseconds are added before they are rounded.
    for counts in (found["jobs"], found["by_worker"]["wkr_open"], found["series"][-1]):
        assert counts["cpu_ms"] == 2
        assert seconds(counts["wait_ms"]) == 6
