"""`python -m bench.migration [--jobs 5000000] [--lines 20000000] [--rows 500000]`: an upgrade of a large database.

Fills a database at the schema before tables were in partitions: `--rows` are those of each of webhook events,
deliveries and the audit trail. Then writers end jobs, append log lines, and write events, deliveries and entries of the
audit trail, by the statements of the service, and a reader holds one table after the other for a while every second,
while `ava db upgrade` runs. Prints how long a write took at most, and the longest time without a write. Another writer,
of a table that no migration changes, shows how long a write takes on this machine anyhow. Exits with 1 if a write took
longer than promised, or a row was lost.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle, pairwise
from threading import Event, Thread

from alembic import command
from sqlalchemy import NullPool, create_engine

from ava.domain import events, ids
from ava.domain.job import LogLevel, LogLine, RunEnd, Status
from ava.store.engine import schema
from ava.store.engine.database import Connection, driver_url
from ava.store.engine.database import Database as StoreDatabase
from ava.store.jobs import runs
from ava.store.reports import audit
from ava.store.reports.audit import AuditRecord
from ava.store.webhooks import deliveries
from bench import rows
from bench.servers import Database, Servers

__all__ = ["Found", "main", "measure"]

#: The schema of the release before the first table was in partitions.
BEFORE = "0053"
#: Seconds that a write may take.
PROMISED_SECONDS = 0.2
#: Writers of log lines, and seconds from one write of a writer to its next.
_LINE_WRITERS = 4
_EVERY_SECONDS = 0.02
#: Seconds for which writers write before the upgrade and after it.
_MARGIN_SECONDS = 3.0
#: Seconds for which a reader holds the lines, and from one time to the next.
_READ_SECONDS, _READ_EVERY_SECONDS = 0.3, 1.0
#: The tables that become partitions, and the jobs.
_TABLES = ("jobs", "job_logs", "webhook_events", "webhook_deliveries", "audit")
_COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in _TABLES)
_TENANT = "ten_bench"


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result. Times are in seconds."""

    #: The rows of each table before the upgrade, those that writers stored meanwhile, and those after it.
    before: Mapping[str, int]
    written: Mapping[str, int]
    after: Mapping[str, int]
    ended: int
    #: Ended jobs of the writers that the database has.
    stored_ends: int
    upgrade_seconds: float
    #: The longest write, by what was written.
    slowest: Mapping[str, float]
    slowest_other: float
    longest_pause: float

    @property
    def lost(self) -> int:
        """Returns the number of rows that are missing, jobs' ends included."""
        missing = sum(self.before[table] + self.written.get(table, 0) - self.after[table] for table in _TABLES)
        return missing + self.ended - self.stored_ends

    @property
    def is_kept(self) -> bool:
        """Returns True if no write took longer than promised, and no row was lost."""
        return self.lost == 0 and max(self.slowest.values()) <= PROMISED_SECONDS


# Filling -------------------------------------------------------------------------------------------------------------


def _database_before(servers: Servers) -> Database:
    """Returns a database at the schema of `BEFORE`."""
    database = servers.database("migration")
    engine = create_engine(driver_url(database.url), poolclass=NullPool)
    with engine.connect() as connection:
        command.upgrade(schema.alembic_config(connection), BEFORE)
    return database


def _running_jobs(database: Database) -> list[tuple[str, int]]:
    """Returns the ids and the run numbers of the jobs that writers end and write about."""
    found = database.rows("SELECT id::text, run_no FROM jobs WHERE status = 'running' ORDER BY id DESC")
    return [(ids.encode("job", id_), run_no) for id_, run_no in found]


# Writing -------------------------------------------------------------------------------------------------------------


@dataclass
class _Writer:
    """Writes one row after the other in a thread, and times each write."""

    url: str
    write: Callable[[Connection, int], bool]
    #: The moments at which writes began and returned.
    moments: list[tuple[float, float]] = field(default_factory=list)
    stored: int = 0
    error: BaseException | None = None

    def run(self, is_done: Event) -> None:
        """Write until it is done."""
        database = StoreDatabase(self.url, name="writer", pool_size=1)
        try:
            with database.connect() as connection:
                while not is_done.wait(_EVERY_SECONDS):
                    began = time.monotonic()
                    self.stored += self.write(connection, self.stored)
                    self.moments.append((began, time.monotonic()))
        except BaseException as error:
            self.error = error
        finally:
            database.close()

    @property
    def slowest(self) -> float:
        """Returns the seconds of the longest write."""
        return max(returned - began for began, returned in self.moments)


def _line(run_no: int, number: int) -> LogLine:
    seq = run_no * runs.SEQ_PER_RUN + 1000 + number
    return LogLine(seq=seq, ts=datetime.now(UTC), level=LogLevel.INFO, msg=f"Written meanwhile: line {number}")


def _line_writer(url: str, job_id: str, run_no: int) -> _Writer:
    def write(connection: Connection, number: int) -> bool:
        lines = [_line(run_no, number)]
        assert runs.append_lines(connection, job_id=job_id, run_no=run_no, lines=lines), "the run lost its claim"
        return True

    return _Writer(url, write)


def _end_writer(url: str, running: Sequence[tuple[str, int]]) -> _Writer:
    """Ends one job after the other, each with one line, as long as there are some."""

    def write(connection: Connection, number: int) -> bool:
        if number >= len(running):
            return False
        job_id, run_no = running[number]
        run_end = RunEnd(job_id=job_id, run_no=run_no, status=Status.COMPLETED, elapsed_ms=1, output_json='{"n":1}')
        assert runs.end(connection, run_end, [_line(run_no, 0)]) is Status.COMPLETED, "the run lost its claim"
        return True

    return _Writer(url, write)


def _delivery_writer(url: str, webhook_id: str) -> _Writer:
    """Writes an event and its delivery each time."""

    def write(connection: Connection, _: int) -> bool:
        id_ = ids.encode("evt", ids.new_uuid())
        event = events.Event(id=id_, type=events.TEST, created_at=datetime.now(UTC), tenant_id=_TENANT, sequence=0)
        deliveries.insert_test(connection, webhook_id=webhook_id, event=event, body=events.make_body(event, {}))
        return True

    return _Writer(url, write)


def _audit_writer(url: str) -> _Writer:
    record = AuditRecord(
        tenant_id=_TENANT,
        user_id="usr_bench",
        role="tenant-admin",
        action="jobs.cancel",
        target=None,
        status=200,
        address="127.0.0.1",
        request_id="req_bench",
        at=datetime.now(UTC),
    )

    def write(connection: Connection, _: int) -> bool:
        audit.insert(connection, [record])
        return True

    return _Writer(url, write)


def _other_writer(url: str) -> _Writer:
    def write(connection: Connection, number: int) -> bool:
        connection.exec_driver_sql("INSERT INTO other_lines VALUES (%(n)s, 'Line')", {"n": number})
        return True

    return _Writer(url, write)


def _read(url: str, is_done: Event) -> None:
    """Hold a table, as a slow statement does, one after the other."""
    database = Database(url)
    for table in cycle(_TABLES[1:]):
        if is_done.wait(_READ_EVERY_SECONDS - _READ_SECONDS):
            break
        database.value(f"SELECT pg_sleep(%s) FROM (SELECT FROM {table} LIMIT 1) AS held", _READ_SECONDS)
    database.close()


@contextmanager
def _beside(actions: Sequence[Callable[[Event], None]]) -> Iterator[None]:
    """Run actions in threads as long as the block lasts."""
    is_done = Event()
    threads = [Thread(target=action, args=(is_done,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_done.set()
        for thread in threads:
            thread.join()


def _longest_pause(writers: Sequence[_Writer]) -> float:
    """Returns the longest time in which no write returned."""
    returned = sorted(moment for writer in writers for _, moment in writer.moments)
    return max(later - earlier for earlier, later in pairwise(returned))


# Measuring -----------------------------------------------------------------------------------------------------------


def _upgrade(url: str) -> float:
    """Run the command. Returns its seconds."""
    began = time.monotonic()
    environ = {**os.environ, "DATABASE_URL": url, "BROKER_URL": "redis://127.0.0.1:1/0"}
    subprocess.run((sys.executable, "-m", "ava.cli.main", "db", "upgrade"), env=environ, check=True)
    return time.monotonic() - began


def measure(servers: Servers, *, jobs: int, lines: int, others: int) -> Found:
    """Fill a database and upgrade it while it is written. `others`: rows of each further table."""
    database = _database_before(servers)
    rows.fill_jobs(database, jobs)
    rows.fill_lines(database, lines)
    webhook_id = ids.encode("wh", rows.fill_webhooks(database, others))
    rows.fill_audit(database, others)
    database.value("CREATE TABLE other_lines (n bigint PRIMARY KEY, msg text NOT NULL)")
    database.value("CHECKPOINT")
    before = _counts(database)
    size = database.value("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(f"  {', '.join(f'{count:,} {table}' for table, count in before.items())} in {size}", flush=True)

    running = _running_jobs(database)
    about, to_end = running[:_LINE_WRITERS], running[_LINE_WRITERS:]
    of_lines = [_line_writer(database.url, *job) for job in about]
    of_ends, other = _end_writer(database.url, to_end), _other_writer(database.url)
    of_deliveries, of_audit = _delivery_writer(database.url, webhook_id), _audit_writer(database.url)
    writers = [*of_lines, of_ends, of_deliveries, of_audit]
    with _beside([*(each.run for each in (*writers, other)), lambda done: _read(database.url, done)]):
        time.sleep(_MARGIN_SECONDS)
        took = _upgrade(database.url)
        time.sleep(_MARGIN_SECONDS)
    for writer in (*writers, other):
        if writer.error:
            raise writer.error
    ended = "SELECT count(*) FROM jobs WHERE status = 'completed' AND output::text = '{\"n\":1}'"
    found = Found(
        before=before,
        written={
            "job_logs": sum(writer.stored for writer in (*of_lines, of_ends)),
            # The end of a job is an event.
            "webhook_events": of_deliveries.stored + of_ends.stored,
            "webhook_deliveries": of_deliveries.stored,
            "audit": of_audit.stored,
        },
        after=_counts(database),
        ended=of_ends.stored,
        stored_ends=database.value(ended),
        upgrade_seconds=took,
        slowest={
            "a line": max(writer.slowest for writer in of_lines),
            "a job's end, with its event": of_ends.slowest,
            "an event and its delivery": of_deliveries.slowest,
            "an entry of the audit trail": of_audit.slowest,
        },
        slowest_other=other.slowest,
        longest_pause=_longest_pause(writers),
    )
    database.close()
    return found


def _counts(database: Database) -> dict[str, int]:
    (counts,) = database.rows(_COUNTS)
    return dict(zip(_TABLES, counts, strict=True))


def report(found: Found) -> str:
    """Returns the result as text."""
    return "\n".join(
        (
            f"upgrade: {found.upgrade_seconds:.1f} s",
            *(
                f"{table}: {found.before[table]:,} before, {found.after[table]:,} after;"
                f" {found.written.get(table, 0):,} written meanwhile"
                for table in _TABLES
            ),
            f"jobs ended meanwhile: {found.ended:,}",
            f"rows lost: {found.lost}",
            *(f"longest write of {what}: {seconds * 1000:.0f} ms" for what, seconds in found.slowest.items()),
            f"longest write of a table that no migration changes: {found.slowest_other * 1000:.0f} ms",
            f"longest time without a write: {found.longest_pause * 1000:.0f} ms",
            f"promised: {PROMISED_SECONDS * 1000:.0f} ms, " + ("kept" if found.is_kept else "NOT KEPT"),
        )
    )


def main() -> int:
    """Measure, and print the result. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.migration", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--lines", type=int, default=20_000_000)
    parser.add_argument("--rows", type=int, default=500_000)
    given, began = parser.parse_args(), time.monotonic()
    with ExitStack() as stack:
        found = measure(Servers(stack), jobs=given.jobs, lines=given.lines, others=given.rows)
    print(report(found))
    print(f"took {time.monotonic() - began:.0f} s")
    return int(not found.is_kept)


if __name__ == "__main__":
    sys.exit(main())
