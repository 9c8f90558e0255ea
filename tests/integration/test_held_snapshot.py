"""A look of the feed costs what waits, not what has ended, while a snapshot is held: by a dump, a report, a standby."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from ava.dispatcher.duties.waiting_jobs import move_due_jobs
from ava.dispatcher.feed import known_windows
from ava.dispatcher.feed.known_windows import KnownWindows
from ava.dispatcher.loop import Duty, DutyThread
from ava.domain import ids
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs.feed import polls, tenant_backlogs
from ava.store.jobs.rows import job_uuid
from ava.store.jobs.transitions import claim
from ava.store.jobs.transitions.claim import Claim, RunCheck
from harness.commit_cuts import QUICK, CommitCuts
from harness.polling import wait_until
from tests.backlog import NODE, WORKER, Backlog, open_backlog
from tests.lost_commits import through

_POLL_ARGUMENTS = {"count_up_to": 2000, "dead_after_seconds": 14, "after_key": "", "max_keys": 10}
#: Jobs that end while the snapshot is held, and how many of them at once.
_ENDED, _AT_ONCE = 12_000, 1_000
#: Blocks that PostgreSQL reads for a look, most of them because of the jobs that have ended within the last second. A
#: complete look reads 1,500 or more, as it compares each entry of an ended job with its row.
_MAX_BLOCKS = 400


pytestmark = pytest.mark.needs_session(because="it explains prepared statements, which a pooler does not keep")


@pytest.fixture
def backlog(database_settings: Settings) -> Iterator[Backlog]:
    with open_backlog(database_settings) as backlog:
        backlog.join()
        yield backlog


@contextmanager
def _snapshot(backlog: Backlog) -> Iterator[None]:
    """A transaction that reads, as a dump does, and goes on."""
    with closing(psycopg2.connect(backlog.settings.database_url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM jobs")
        yield


def _end_jobs(backlog: Backlog, *, is_published: bool) -> None:
    """Let jobs pass through all states, in the broker's window from their insertion, or from the backlog."""
    backlog.insert(_AT_ONCE, is_published=is_published)
    backlog.run("UPDATE jobs SET published_at = clock_timestamp() WHERE status = 'queued' AND published_at IS NULL")
    backlog.run(
        "UPDATE jobs SET status = 'running', run_no = run_no + 1, attempt = 1, started_at = now(), node_id = %(node)s"
        " WHERE status = 'queued'",
        node=NODE,
    )
    backlog.run("UPDATE jobs SET status = 'completed', completed_at = now() WHERE status = 'running'")


class _Explaining:
    """A connection that explains what is read through it, and counts the blocks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.blocks = 0

    def exec_driver_sql(self, statement: Statement, parameters: dict[str, Any]) -> Any:
        *settings, query = statement.split(";")
        for setting in settings:
            self._connection.exec_driver_sql(setting)
        self._explain(query, parameters)
        return self._connection.exec_driver_sql(query, parameters)

    def _explain(self, query: str, parameters: Mapping[str, Any]) -> None:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"
        (found,) = self._connection.exec_driver_sql(explained, parameters).one()
        (plan,) = found if isinstance(found, list) else json.loads(found)
        self.blocks += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    @contextmanager
    def prepared(self) -> Iterator[Connection]:
        """The connection, of which the prepared statements are explained while the block lasts."""
        run = Prepared.run

        def run_and_explain(statement: Prepared, connection: Connection, parameters: Any, *, before: str = "") -> Any:
            rows = run(statement, connection, parameters, before=before)
            self._explain(statement._execute, parameters)
            return rows

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Prepared, "run", run_and_explain)
            yield self._connection


def _poll(backlog: Backlog, known: KnownWindows) -> tuple[polls.Poll, int]:
    """Returns a look, and the number of blocks that it reads."""
    with backlog.database.transaction() as connection:
        explaining = _Explaining(connection)
        with explaining.prepared() as explained:
            return known.read(explained, **_POLL_ARGUMENTS), explaining.blocks


def _heads(backlog: Backlog, from_id: str | None) -> tuple[list[str], int]:
    """Returns the ids of the next jobs of the backlog, and the number of blocks that are read."""
    with backlog.database.transaction() as connection:
        explaining = _Explaining(connection)
        found = tenant_backlogs.heads(
            explaining,  # type: ignore[arg-type]  # it is used as a connection is
            queue="default",
            priority=5,
            tenants=["ten_test"],
            each=50,
            from_id=from_id,
        )
        return [job.id for job in found["ten_test"]], explaining.blocks


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownWindows:
    """Windows known from looks of which each complete one is slow, and none but the first ones is due."""
    monkeypatch.setattr(known_windows, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(known_windows, "_PAUSE_FACTOR", 1e9)
    monkeypatch.setattr(known_windows, "_MAX_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(known_windows, "_MAX_SHARE", 1e9)
    return KnownWindows()


def test_a_poll_costs_what_waits_while_a_snapshot_is_held(backlog: Backlog, known: KnownWindows) -> None:
    backlog.insert(1)
    for _ in range(known_windows._SLOW_POLLS):
        _poll(backlog, known)
    with _snapshot(backlog):
        for number in range(_ENDED // _AT_ONCE):
            _end_jobs(backlog, is_published=number % 2 == 0)
            assert _poll(backlog, known)[0].windows == []
        # A look passes the jobs of the last second, however many a quick machine has ended in it.
        ended = "SELECT clock_timestamp() - max(completed_at) > interval '1 second' FROM jobs"
        wait_until(lambda: backlog.run(ended) == [(True,)], what="a second since the last end")
        _poll(backlog, known)
        waiting = backlog.insert(10)
        backlog.insert(5, is_published=True)
        poll, blocks = _poll(backlog, known)
        (window,) = poll.windows
        assert (window.published, window.has_backlog, window.only_tenant) == (5, True, "ten_test")
        assert window.floor is not None
        chosen, blocks_of_heads = _heads(backlog, window.floor.job_id)
        assert chosen == [job_uuid(job.id) for job in waiting]
        assert max(blocks, blocks_of_heads) <= _MAX_BLOCKS
        # The entries of ended jobs are there, and cost a look that passes them.
        known.see_returned()
        complete, blocks = _poll(backlog, known)
        assert replace(complete.windows[0], floor=None) == replace(window, floor=None)
        assert blocks > 2 * _MAX_BLOCKS
        unbounded, blocks = _heads(backlog, None)
        assert unbounded == chosen
        assert blocks > blocks_of_heads


def test_polls_are_complete_while_they_are_quick(backlog: Backlog) -> None:
    known = KnownWindows()
    for number in range(1, 11):
        backlog.insert(1, priority=number)
        assert len(_poll(backlog, known)[0].windows) == number


_OLD_ID = "01890000-0000-7000-8000-0000000000ff"
_CLAIM_ID = "01890000-0000-7000-8000-0000000000fe"


def test_polls_are_complete_while_the_others_are_as_slow(
    backlog: Backlog, known: KnownWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.insert()
    for _ in range(known_windows._SLOW_POLLS + 1):
        _poll(backlog, known)
    backlog.insert(priority=7)
    assert len(_poll(backlog, known)[0].windows) == 1
    monkeypatch.setattr(known_windows, "_MAX_SHARE", 0.0)
    assert len(_poll(backlog, known)[0].windows) == 1
    assert len(_poll(backlog, known)[0].windows) == 2


@pytest.mark.parametrize("by", ["admission", "due", "due, whose commit lost its response"])
def test_a_poll_sees_older_jobs_that_come_back(backlog: Backlog, known: KnownWindows, by: str) -> None:
    [job] = backlog.insert()
    for _ in range(known_windows._SLOW_POLLS):
        _poll(backlog, known)
    assert _poll(backlog, known)[0].windows
    backlog.run("UPDATE jobs SET id = %(id)s, waits_for = 'schedule', run_at = now()", id=_OLD_ID)
    assert not _poll(backlog, known)[0].windows
    if by != "admission":
        cuts = CommitCuts(backlog.settings.database_url, commit_seconds=(QUICK,))
        cuts.is_cutting = by != "due"
        with through(cuts) as database:
            duty = Duty("due", 1.0, "jobs due", lambda _: move_due_jobs(database), on_change=known.see_returned)
            DutyThread(duty, threading.Event(), threading.Event()).run_duty()
        cuts.close()
        assert len(cuts.cut) == cuts.is_cutting
    else:
        backlog.run("UPDATE jobs SET waits_for = NULL, run_at = NULL")
        known.see_admitted([replace(job, id=ids.encode("job", _OLD_ID))])
    (window,) = _poll(backlog, known)[0].windows
    assert window.has_backlog


def test_a_poll_sees_other_tenants_before_and_after_the_one_it_knows(backlog: Backlog, known: KnownWindows) -> None:
    backlog.insert(tenant_id="ten_m")
    for _ in range(known_windows._SLOW_POLLS + 1):
        (window,) = _poll(backlog, known)[0].windows
        assert (window.only_tenant, window.is_shared) == ("ten_m", False)
    for other in ("ten_a", "ten_z"):
        backlog.insert(tenant_id=other)
        (window,) = _poll(backlog, known)[0].windows
        assert (window.only_tenant, window.is_shared) == (None, True)
        backlog.run("DELETE FROM jobs WHERE tenant_id = %(other)s", other=other)
        known.see_returned()
        (window,) = _poll(backlog, known)[0].windows
        assert (window.only_tenant, window.is_shared) == ("ten_m", False)


def test_a_poll_for_more_urgent_jobs_reads_few_entries_while_a_snapshot_is_held(backlog: Backlog) -> None:
    """Where few jobs wait, the planner takes the index of all jobs by their status for a short one."""
    with _snapshot(backlog):
        for _ in range(_ENDED // _AT_ONCE):
            _end_jobs(backlog, is_published=True)
        backlog.insert(3, is_published=True)
        [run] = [job.next_run for job in backlog.insert(is_published=True)]
        with backlog.database.connect() as connection:
            wanted = Claim(run=run, worker_id=WORKER, node_id=NODE, claim_id=_CLAIM_ID)
            assert claim.claim(connection, wanted) is not None
        backlog.run("ANALYZE jobs")
        with backlog.database.transaction() as connection:
            explaining = _Explaining(connection)
            with explaining.prepared() as explained:
                found = claim.check(explained, run=run, claim_id=_CLAIM_ID, outranked_by=4)
    assert found == RunCheck(is_to_be_cancelled=False, is_outranked=False)
    assert explaining.blocks <= _MAX_BLOCKS
