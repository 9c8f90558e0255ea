"""`python -m bench.layouts [LAYOUT …]`: what a job costs PostgreSQL in several layouts of the table of jobs.

One backend runs the statements of `ava.store.jobs.transitions` on a schema that each layout alters; there is no broker
and no other process. A job is created, published, claimed, and ended with four log lines: individually (`single`), or
together with others (`group`). A row has, per job, the bytes of WAL of these statements and of a VACUUM, the
microseconds of the backend, the share of HOT updates, and the bytes on disk, also before the first VACUUM; and the
microseconds of a page of 20 and of 100 jobs. The layouts alternate after each wave of jobs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from ava.domain.jobs.job import Job, JobSpec, LogLevel, LogLine, RunKey, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.domain.limits.fair_queueing import WaitingJob
from ava.settings import load
from ava.store.engine import schema
from ava.store.engine.database import Connection, Database
from ava.store.jobs import rows
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import claim, end, make, publish
from ava.store.jobs.transitions.ended_runs import EndedRun
from ava.store.jobs.transitions.log_lines import OPENING, SEQ_PER_RUN
from bench import payload_table
from bench.servers import Database as Admin
from harness.servers.postgres import running_postgres

_TENANT, _WORKER, _NODE = "ten_bench", "wkr_noop", "00000000-0000-7000-8000-000000000001"
#: Jobs between two VACUUMs, and jobs per poll of the dispatcher.
_WAVE, _PAGE = 480, 160
#: 40 bytes.
_OUTPUT = '{"text":"a brief output of forty bytes"}'
_OPTIONS = {"autovacuum": "off", "shared_buffers": "512MB"}
_TABLES = "^(jobs|job_logs|job_payloads)(_live|_final|_rest|_first)?$"
Result = TypeVar("Result")
_MOVES = ("insert", "publish", "claim", "end")
#: Jobs per page, and reads of each page after a wave.
_PAGES, _READS = (20, 100), 10
_MEASURED = (*_MOVES, "vacuum", *(f"list {limit}" for limit in _PAGES))


# The lists contain only final jobs; the others have one index, which begins with the worker.
_FINAL_LISTS = """
DROP INDEX jobs_by_worker, jobs_by_status;
CREATE INDEX jobs_unfinished ON jobs (tenant_id, status, worker_id, trigger, id) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_by_worker ON jobs (tenant_id, worker_id, status, trigger, id)
    WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX jobs_by_status ON jobs (tenant_id, status, trigger, id)
    WHERE status IN ('completed', 'failed', 'cancelled');
"""
# So the order of ids across tenants needs no separate index.
_ID_FIRST = """
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey;
ALTER TABLE jobs ADD PRIMARY KEY (id, tenant_id);
DROP INDEX jobs_by_id;
"""
_NO_CHECKS = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'jobs'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE jobs DROP CONSTRAINT %%I', name);
    END LOOP;
END $$;
"""
# Separate live and final jobs: PostgreSQL moves a row that ends from one partition to the other.
_LIVE = """
ALTER TABLE jobs RENAME TO jobs_live;
DROP INDEX jobs_by_worker, jobs_by_status, jobs_failed, jobs_completed, jobs_ended;
CREATE TABLE jobs (LIKE jobs_live INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY LIST (status);
CREATE TABLE jobs_final (LIKE jobs_live INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id, tenant_id));
ALTER TABLE jobs ATTACH PARTITION jobs_live FOR VALUES IN ('queued', 'running');
ALTER TABLE jobs ATTACH PARTITION jobs_final FOR VALUES IN ('completed', 'failed', 'cancelled');
CREATE INDEX jobs_by_worker ON jobs_final (tenant_id, worker_id, status, trigger, id);
CREATE INDEX jobs_by_status ON jobs_final (tenant_id, status, trigger, id);
CREATE INDEX jobs_failed ON jobs_final (tenant_id, completed_at, id) WHERE status = 'failed';
CREATE INDEX jobs_completed ON jobs_final (completed_at);
CREATE INDEX jobs_ended ON jobs_final (end_no);
CREATE INDEX jobs_final_of_tree ON jobs_final (tenant_id, tree_id, id) WHERE tree_id IS NOT NULL;
CREATE INDEX jobs_final_of_parent ON jobs_final (tenant_id, parent_id, id) WHERE parent_id IS NOT NULL;
CREATE TRIGGER record_event_of_end AFTER INSERT ON jobs_final FOR EACH ROW EXECUTE FUNCTION ava_record_event();
ALTER TABLE jobs_live SET (fillfactor = 50);
"""
#: The changes of each layout to the current schema.
LAYOUTS: Mapping[str, Sequence[str]] = {
    "present": [],
    "fillfactor 85": ["ALTER TABLE jobs SET (fillfactor = 85)"],
    "fillfactor 50": ["ALTER TABLE jobs SET (fillfactor = 50)"],
    "no CHECKs": [_NO_CHECKS],
    "key begins with the id": [_ID_FIRST],
    "lists of final jobs": [_FINAL_LISTS],
    "both": [_FINAL_LISTS, _ID_FIRST],
    "live and final": [_FINAL_LISTS, _ID_FIRST, _LIVE],
    **{name: [alters] for name, alters in payload_table.ALTERS.items()},
}


class _Model:
    """One database with one layout; each statement handles `size` jobs."""

    def __init__(self, url: str, layout: str, *, input_bytes: int, size: int) -> None:
        database = f"layout_{list(LAYOUTS).index(layout)}"
        admin = Admin(urlsplit(url)._replace(path="/postgres").geturl())
        admin.value(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        admin.value(f"CREATE DATABASE {database}")
        admin.close()
        self._admin = Admin(urlsplit(url)._replace(path=f"/{database}").geturl())
        schema.upgrade(load({"DATABASE_URL": self._admin.url, "BROKER_URL": "redis://localhost:1/0"}))
        self._admin.value(
            "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
            f" VALUES ('{_WORKER}', 'noop', 60, 0, 5, 'default', 'requeue')"
        )
        for each in LAYOUTS[layout]:
            self._admin.value(each)
        self._database = Database(self._admin.url, name="layouts", pool_size=1)
        with self._database.connect() as connection:
            self._pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        self._layout, self._size = layout, size
        padding = "".join(uuid4().hex for _ in range(1 + input_bytes // 32))[: max(0, input_bytes - 11)]
        spec = JobSpec(worker_id=_WORKER, input_json=json.dumps({"text": padding}, separators=(",", ":")))
        self._new = NewJob(tenant_id=_TENANT, user_id="usr_bench", spec=spec, may_publish=False)
        #: By statement: the bytes of WAL and the microseconds of each call.
        self._wal: dict[str, list[float]] = {name: [] for name in _MEASURED}
        self._took: dict[str, list[float]] = {name: [] for name in _MEASURED}
        self._waves, self._disk_before = 0, -self._disk()

    def run_wave(self) -> None:
        """Run a wave of jobs, VACUUM, and read pages. The first wave warms up the caches, and fills new pages."""
        if self._waves == 1:
            for calls in (*self._wal.values(), *self._took.values()):
                calls.clear()
        with payload_table.statements_of(self._layout):
            self._run_jobs()
            if self._waves == 0:
                self._disk_before += self._disk()
            self._measure("vacuum", self._vacuum)
            if self._waves == 0:
                self._admin.value("ANALYZE")
            for limit in _PAGES * _READS:
                page = partial(lists.page, tenant_id=_TENANT, job_filter=JobFilter(), limit=limit)
                assert len(self._act(f"list {limit}", page).jobs) == limit
        self._waves += 1

    def figures(self) -> dict[str, float]:
        """Return the figures per job, and the microseconds of a page."""
        jobs = (self._waves - 1) * _WAVE
        wal = {name: sum(self._wal[name]) / jobs for name in (*_MOVES, "vacuum")}
        took = {f"{name} µs": median(self._took[name]) * len(self._took[name]) / jobs for name in _MOVES}
        return {
            **wal,
            "WAL": sum(wal[name] for name in _MOVES),
            **took,
            "µs": sum(took.values()),
            **{f"list {limit} µs": median(self._took[f"list {limit}"]) for limit in _PAGES},
            "HOT %": 100 * self._hot_share(),
            "disk": self._disk() / self._waves / _WAVE,
            "disk before": self._disk_before / _WAVE,
        }

    def _run_jobs(self) -> None:
        size, made = self._size, list[Job]()
        for _ in range(_WAVE // size):
            made += [job for job in self._act("insert", lambda c: make.insert(c, [self._new] * size)) if job]
        waiting = [WaitingJob(id=str(rows.job_uuid(job.id)), tenant_id=_TENANT, worker_id=_WORKER) for job in made]
        for first in range(0, len(waiting), _PAGE):
            page = waiting[first : first + _PAGE]
            assert len(self._act("publish", partial(publish.publish, chosen=page))) == len(page)
        for first in range(0, len(made), size):
            runs = [RunKey(tenant_id=_TENANT, job_id=job.id, run_no=1) for job in made[first : first + size]]
            self._run_group(runs) if size > 1 else self._run_alone(runs[0])

    def _run_alone(self, run: RunKey) -> None:
        wanted = claim.Claim(run=run, worker_id=_WORKER, node_id=_NODE, claim_id=str(uuid4()))
        job = self._act("claim", lambda c: claim.claim(c, wanted))
        assert job is not None
        ended = _end(job, wanted.claim_id, _lines()[1:])
        assert self._act("end", lambda c: end.end(c, ended)) is Status.COMPLETED

    def _run_group(self, runs: Sequence[RunKey]) -> None:
        claim_id = str(uuid4())
        claimed = self._act(
            "claim",
            lambda c: claim.claim_together(c, runs, worker_id=_WORKER, node_id=_NODE, claim_id=claim_id),
        )
        assert len(claimed) == len(runs)
        began_at = datetime.now(UTC) - timedelta(milliseconds=10)
        completed = [_end(job, claim_id, _lines(), began_at) for job in claimed]
        ended = self._act("end", lambda c: end.end_each(c, completed))
        assert len(ended) == len(runs)

    def _act(self, name: str, act: Callable[[Connection], Result]) -> Result:
        def connected() -> Result:
            with self._database.connect() as connection:
                return act(connection)

        return self._measure(name, connected)

    def _measure(self, name: str, act: Callable[[], Result]) -> Result:
        position, nanoseconds = self._position(), self._nanoseconds()
        result = act()
        self._wal[name].append(self._position() - position)
        self._took[name].append((self._nanoseconds() - nanoseconds) / 1000)
        return result

    def _vacuum(self) -> None:
        for (name,) in self._admin.rows("SELECT relname FROM pg_class WHERE relname ~ %s AND relkind = 'r'", _TABLES):
            self._admin.value(f"VACUUM {name}")

    def _position(self) -> float:
        return float(self._admin.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def _nanoseconds(self) -> int:
        # The backend's processor time (Linux, `sched-stats.rst`).
        return int(Path(f"/proc/{self._pid}/schedstat").read_text(encoding="ascii").split()[0])

    def _hot_share(self) -> float:
        with self._database.connect() as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
            connection.exec_driver_sql("SELECT 1")
        statement = """
            SELECT (sum(n_tup_hot_upd) / sum(n_tup_upd))::float8 FROM pg_stat_user_tables
            WHERE relname IN ('jobs', 'jobs_live', 'jobs_final')"""
        return float(self._admin.value(statement) or 0)

    def _disk(self) -> float:
        statement = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname ~ %s AND relkind = 'r'"
        return float(self._admin.value(statement, _TABLES))


def _end(job: Job, claim_id: str | None, lines: Sequence[LogLine], began_at: datetime | None = None) -> EndedRun:
    outcome = RunOutcome(run=job.run, ending=Ending.COMPLETED, elapsed_ms=1, output_json=_OUTPUT)
    return EndedRun.of(job, outcome, claim_id=claim_id, lines=lines[:-1], closing=lines[-1], began_at=began_at)


def _lines() -> list[LogLine]:
    messages = (OPENING, "one", "two", "Handler completed in 1ms")
    now = datetime.now(UTC)
    return [
        LogLine(seq=SEQ_PER_RUN + n, ts=now, level=LogLevel.INFO, msg=message) for n, message in enumerate(messages)
    ]


def main() -> None:
    """Measure the layouts that the command line names, by default all. The last columns are ratios to the first one."""
    parser = argparse.ArgumentParser(prog="python -m bench.layouts", description=__doc__)
    parser.add_argument("layouts", nargs="*", metavar="LAYOUT", help=", ".join(f"'{name}'" for name in LAYOUTS))
    parser.add_argument("--jobs", type=int, default=1920, help="in waves of 480")
    parser.add_argument("--inputs", type=int, nargs="*", default=[20, 1500], metavar="BYTES")
    parser.add_argument("--group", type=int, default=16, metavar="JOBS", help="that share a statement in a group")
    given = parser.parse_args()
    names = given.layouts or list(LAYOUTS)
    with running_postgres(_OPTIONS) as server:
        for number, (input_bytes, size) in enumerate(product(given.inputs, (1, given.group))):
            models = {name: _Model(server.url, name, input_bytes=input_bytes, size=size) for name in names}
            for _ in range(1 + max(1, given.jobs // _WAVE)):
                for model in models.values():
                    model.run_wave()
            found = {name: model.figures() for name, model in models.items()}
            base = found[names[0]]
            if number == 0:
                print("| layout | job | " + " | ".join(base) + " | WAL × | µs × |", flush=True)
                print("|---|---|" + "---:|" * (len(base) + 2), flush=True)
            for name, figures in found.items():
                ratios = f"{figures['WAL'] / base['WAL']:.2f} | {figures['µs'] / base['µs']:.2f}"
                shown = " | ".join(f"{value:,.0f}" for value in figures.values())
                kind = f"{input_bytes} bytes, {'single' if size == 1 else 'group'}"
                print(f"| {name} | {kind} | {shown} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
