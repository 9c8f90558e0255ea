"""A standby of a PostgreSQL server, which becomes the primary, at the address of the former one if it is asked to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg2

from ava.domain import ids
from ava.local.servers import Postgres
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.server import Server, account_folder


class Standby:
    """A server that replays what its primary writes, a moment later."""

    def __init__(self, primary: Server) -> None:
        assert isinstance(primary.server, Postgres)
        self._primary = primary
        account = primary.server.account
        parent = primary.server.folder.parent
        folder = account_folder(parent, "standby", account.uid if account else None)
        copy = replace(primary.server, folder=folder, port=free_port())
        _copy(primary.server, copy)
        logs = parent / "standby_log"
        logs.mkdir()
        self._server = Server(copy, logs)

    def stop_receiving(self) -> None:
        """Receive nothing more, as behind a link that is too slow: what the primary commits from now on is lost."""
        self._run("ALTER SYSTEM SET primary_conninfo = ''")
        self._run("SELECT pg_reload_conf()")
        wait_until(lambda: self._run("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)], what="replication stopped")

    def frozen(self) -> AbstractContextManager[None]:
        """Freeze it for the length of a `with`: the primary takes it for connected, and it applies nothing."""
        return self._server.frozen()

    def find(self, job_id: str) -> bool:
        """Returns True if it has a job."""
        return self._run("SELECT count(*) FROM jobs WHERE id = %s::uuid", ids.decode("job", job_id)) == [(1,)]

    def make_synchronous(self, *, waits: bool = True) -> None:
        """Make it the synchronous standby of its primary; all commits wait for it unless `waits` is False."""
        _run(self._primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        if not waits:
            _run(self._primary.url, "ALTER SYSTEM SET synchronous_commit = local")
        _run(self._primary.url, "SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: _run(self._primary.url, state) == [("sync",)], what="the standby is synchronous")

    @property
    def url(self) -> str:
        """Its URL."""
        return self._server.url

    @property
    def primary_url(self) -> str:
        """The URL of its primary."""
        return self._primary.url

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It replays nothing meanwhile."""
        self._run("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self._run("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
        try:
            yield
        finally:
            self._run("SELECT pg_wal_replay_resume()")

    def promote(self) -> None:
        """Become the primary, at its own address."""
        self._run("SELECT pg_promote()")

    def take_over(self) -> None:
        """Become the primary, and then take the address of the former one, which must be dead."""
        self.promote()
        self._server.stop()
        assert isinstance(self._primary.server, Postgres)
        assert isinstance(self._server.server, Postgres)
        self._primary.server = replace(self._server.server, port=self._primary.server.port)
        self._primary.start()

    def stop(self) -> None:
        """Stop it. Does nothing if it has taken over."""
        self._server.kill()

    def await_stream(self) -> None:
        """Wait until it has replayed what the primary has written by now."""
        [[position]] = _run(self._primary.url, "SELECT pg_current_wal_lsn()")
        wait_until(lambda: self._run("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position) == [(True,)])

    def _run(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return _run(self._server.url, statement, *parameters)


@contextmanager
def streaming_standby(primary: Server) -> Iterator[Standby]:
    """A standby that streams from a running server."""
    standby = Standby(primary)
    try:
        standby.await_stream()
        yield standby
    finally:
        standby.stop()


def _copy(primary: Postgres, copy: Postgres) -> None:
    """Copy the data of a running server into the folder of a standby of it."""
    program = str(primary.programs.folder / "pg_basebackup")
    account = primary.account
    subprocess.run(
        (program, "--pgdata", str(copy.data), "--dbname", primary.url, "--checkpoint=fast", "--write-recovery-conf"),
        check=True,
        capture_output=True,
        cwd="/",
        **({} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}),
    )


def _run(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
