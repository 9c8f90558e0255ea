"""Migrations beside a running system: they block no one for long, and the release before runs on the newer schema."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Connection, Engine

from ava.errors import DatabaseAhead, DatabaseNotMigrated, NoDowngrade, StartError
from ava.settings import Settings
from ava.store.engine import schema
from harness.api import Api
from harness.polling import wait_until
from harness.releases import ADD_COLUMN, CREATE_INDEX, DROP_COLUMN, DROP_INDEX, write_code, write_release
from tests.backlog import Backlog
from tests.schemas import definitions, empty

#: This release's revision, and those of the next two.
THIS = schema.revisions()[-1]
NEXT, AFTER_NEXT = (f"{int(THIS) + step:04}" for step in (1, 2))

#: Makes a newer release of this code: it adds migrations, each as its `upgrade`, its `downgrade` and its `oldest_code`.
Release = Callable[..., None]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    def install(*migrations: tuple[str, str, str]) -> None:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write_release(folder, *migrations)
        monkeypatch.setattr(schema, "_MIGRATIONS", folder)

    return install


def _slowest_insert(stored: Backlog, *, until: Callable[[], bool]) -> float:
    """Insert jobs until a condition is met. Returns the seconds that the slowest took."""
    slowest, deadline = 0.0, time.monotonic() + 60
    while not until():
        began = time.monotonic()
        assert began < deadline
        stored.insert(1)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.02)
    return slowest


def test_an_autovacuum_gives_way_to_a_migration(
    stored: Backlog, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    release((ADD_COLUMN, DROP_COLUMN, THIS))
    monkeypatch.setattr(schema, "_MAX_SECONDS", 10.0)
    with stored.autovacuum("jobs", lambda: stored.insert(5_000)):
        assert schema.upgrade(stored.settings).revision == NEXT


def _snapshot(engine: Engine) -> AbstractContextManager[Connection]:
    """Returns a transaction as that of a dump, for which CREATE INDEX CONCURRENTLY waits."""
    return engine.execution_options(isolation_level="REPEATABLE READ").begin()


def _is_valid(connection: Connection) -> bool:
    return bool(
        connection.exec_driver_sql(
            "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = to_regclass('jobs_added')"
        ).scalar()
    )


def test_an_upgrade_behind_a_long_reader_blocks_no_writer_for_long(
    stored: Backlog, engine: Engine, release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    release((ADD_COLUMN, DROP_COLUMN, THIS))
    caplog.set_level(logging.WARNING)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as reader:
            reader.exec_driver_sql("SELECT count(*) FROM jobs")
            upgrade = pool.submit(schema.upgrade, stored.settings)
            slowest = _slowest_insert(stored, until=lambda: caplog.text.count("will retry") >= 3)
            assert not upgrade.done()
        assert upgrade.result(60).revision == NEXT
    # The time-out is a second, and the reader never ends by itself; the rest is for a busy machine.
    assert slowest < 15
    assert "oldest_pid" in caplog.records[0].__dict__


def test_an_index_is_created_while_its_table_is_read_and_written(
    stored: Backlog, engine: Engine, release: Release
) -> None:
    release((CREATE_INDEX, DROP_INDEX, THIS))

    def creates() -> bool:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%%' AND state = 'active'"
        return stored.run(statement) != [(0,)]

    with ThreadPoolExecutor(2) as pool:
        with _snapshot(engine) as reader:
            reader.exec_driver_sql("SELECT count(*) FROM jobs")
            upgrades = [pool.submit(schema.upgrade, stored.settings) for _ in range(2)]
            wait_until(creates, what="the index is being created")
            # An insert that waited for the index would wait for the reader, which ends after them.
            for _ in range(20):
                stored.insert(1)
            assert not any(upgrade.done() for upgrade in upgrades)
        assert [upgrade.result(60).revision for upgrade in upgrades] == [NEXT] * 2
    with engine.connect() as connection:
        assert _is_valid(connection)


def test_an_upgrade_that_died_while_it_created_an_index_can_be_repeated(
    stored: Backlog, engine: Engine, release: Release
) -> None:
    release((CREATE_INDEX, DROP_INDEX, THIS))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%%'"
    with ThreadPoolExecutor(1) as pool, _snapshot(engine) as reader:
        reader.exec_driver_sql("SELECT count(*) FROM jobs")
        upgrade = pool.submit(schema.upgrade, stored.settings)
        wait_until(lambda: stored.run(kill), what="the upgrade is killed")
        with pytest.raises(StartError, match="run this again"):
            upgrade.result(30)
    with engine.connect() as connection:
        assert not _is_valid(connection)
        assert schema.upgrade(stored.settings).revision == NEXT
        assert _is_valid(connection)


def test_the_release_before_runs_on_a_newer_schema_that_allows_it(
    api: Api, api_settings: Settings, release: Release
) -> None:
    release((ADD_COLUMN, DROP_COLUMN, THIS), (CREATE_INDEX, DROP_INDEX, NEXT))
    newest = schema.upgrade(api_settings)
    assert (newest.revision, newest.oldest_code) == (AFTER_NEXT, NEXT)

    release()
    for refused in (schema.check, schema.upgrade, schema.upgrade_sql):
        with pytest.raises(DatabaseAhead):
            refused(api_settings)
    wait_until(lambda: api.get("/readyz").status_code == 503, what="this release is not ready")

    release((ADD_COLUMN, DROP_COLUMN, THIS), (CREATE_INDEX, DROP_INDEX, NEXT))
    assert schema.downgrade(api_settings).revision == NEXT

    release()
    schema.check(api_settings)
    assert schema.upgrade(api_settings).is_ahead
    assert schema.upgrade_sql(api_settings) == ""
    wait_until(lambda: api.get("/readyz").status_code == 200, what="this release is ready")
    assert api.trigger()["status"] == "queued"
    with pytest.raises(DatabaseAhead):
        schema.downgrade(api_settings)


def test_the_printed_sql_makes_the_schema_and_printing_it_changes_nothing(
    engine: Engine, database_settings: Settings
) -> None:
    expected = definitions(engine)
    empty(engine)
    sql = schema.upgrade_sql(database_settings)
    with pytest.raises(DatabaseNotMigrated):
        schema.check(database_settings)
    raw = psycopg2.connect(database_settings.database_url)
    raw.autocommit = True
    # One after the other, as psql does, because an index is not created CONCURRENTLY among other statements.
    for statement in sql.split(";\n\n"):
        if statement.strip():
            raw.cursor().execute(statement)
    raw.close()
    schema.check(database_settings)
    assert definitions(engine) == expected


def test_the_first_migration_is_never_undone(database_settings: Settings, release: Release) -> None:
    with pytest.raises(NoDowngrade):
        schema.downgrade(database_settings)
    release((ADD_COLUMN, DROP_COLUMN, THIS))
    assert schema.upgrade(database_settings).revision == NEXT
    assert schema.downgrade(database_settings).revision == THIS
    with pytest.raises(NoDowngrade):
        schema.downgrade(database_settings)


def test_the_command_line_shows_downgrades_and_upgrades(database_settings: Settings, tmp_path: Path) -> None:
    write_code(tmp_path / "newer", (ADD_COLUMN, DROP_COLUMN, THIS))

    def run(*words: str, answer: str = "") -> str:
        # `ava db` connects to no broker.
        urls = {"DATABASE_URL": database_settings.database_url}
        command = (sys.executable, "-m", "ava.cli.main", "db", *words)
        result = subprocess.run(
            command,
            cwd=tmp_path / "newer",
            env=os.environ | urls | {"PYTHONPATH": str(tmp_path / "newer")},
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )
        return result.stdout + result.stderr

    assert "ava db upgrade" in run("show")
    assert "UPDATE alembic_version" in run("upgrade", "--sql")
    assert "ava db upgrade" in run("show")
    assert "The database is up to date." in run("upgrade")
    assert f"database: {NEXT}" in run("show")
    assert "give --yes" in run("downgrade", answer="y\n")
    assert "The database is up to date." in run("show")
    assert f"The database is at {THIS}." in run("downgrade", "--yes")
    assert "ava db upgrade" in run("show")
