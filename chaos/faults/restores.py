"""Restore a dump of the database beneath running processes, following docs/operate/maintenance.md."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from ava.domain import ids
from ava.local.servers import Postgres
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from harness.polling import wait_until

_AGE_SECONDS = 60.0


def _restore(cluster: Cluster) -> Injury:
    """Dump the database, and replace it by the restored dump a minute later."""
    dump = cluster.effects_path.parent / "dump"
    _run(cluster, "pg_dump", "--format=custom", f"--file={dump}", cluster.postgres.url)
    time.sleep(_AGE_SECONDS)
    _administer(cluster, "CREATE DATABASE restored")
    _run(cluster, "pg_restore", "--exit-on-error", f"--dbname={_url(cluster, 'restored')}", str(dump))
    _administer(cluster, "ALTER DATABASE ava ALLOW_CONNECTIONS false")
    wait_until(lambda: not _end_sessions(cluster), seconds=30, what="the database has no session")
    # A response from before may be in transit.
    time.sleep(0.5)
    accepted = {job.id for job in cluster.load.accepted}
    _administer(
        cluster,
        "ALTER DATABASE ava RENAME TO replaced",
        "ALTER DATABASE restored RENAME TO ava",
        "ALTER DATABASE replaced ALLOW_CONNECTIONS true",
    )
    restored = _jobs(cluster, "ava")
    again = {job for job, is_final in _jobs(cluster, "replaced").items() if is_final and restored.get(job) is False}
    cluster.system.run("broker", "reset")
    gone = accepted - restored.keys()
    return Injury(
        since=time.monotonic(),
        uncommitted=gone,
        measured=[f"{len(gone)} accepted after the dump are gone", f"{len(again)} that ended after it run again"],
    )


def _end_sessions(cluster: Cluster) -> bool:
    """End the database's sessions. Returns True if there were any."""
    return bool(_administer(cluster, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ava'"))


def _jobs(cluster: Cluster, database: str) -> dict[str, bool]:
    """Return the jobs of a database, and whether each is final."""
    found = _query(_url(cluster, database), "SELECT id::text, completed_at IS NOT NULL FROM jobs")
    return {ids.encode("job", id_): is_final for id_, is_final in found}


def _url(cluster: Cluster, database: str) -> str:
    return urlsplit(cluster.postgres.url)._replace(path=f"/{database}").geturl()


def _administer(cluster: Cluster, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in another database. Returns the rows of the last one."""
    return [_query(_url(cluster, "postgres"), statement) for statement in statements][-1]


def _query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _run(cluster: Cluster, program: str, *arguments: str) -> None:
    assert isinstance(cluster.postgres.server, Postgres)
    path: Path = cluster.postgres.server.programs.folder / program
    subprocess.run((str(path), *arguments), check=True, capture_output=True)


FAULTS = (
    Fault(
        name="a dump of 60 s before restored beneath running processes",
        inject=_restore,
        promised_seconds=15,
    ),
)
