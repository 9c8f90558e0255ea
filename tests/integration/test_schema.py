"""The schema: brought up to date by any number at once, undone, and told apart from older and newer ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine

from ava.errors import DatabaseAhead, DatabaseNotMigrated
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.engine.database import driver_url


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    engine = create_engine(driver_url(database_settings.database_url))
    yield engine
    engine.dispose()


def _columns(engine: Engine) -> list[tuple[str, ...]]:
    statement = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def test_the_names_of_the_files_are_what_alembic_finds_in_them(engine: Engine) -> None:
    with engine.connect() as connection:
        found = ScriptDirectory.from_config(schema.config_of(connection)).walk_revisions()
        assert [script.revision for script in found] == schema.revisions()[::-1]


def test_every_migration_can_be_undone_and_done_again(engine: Engine) -> None:
    before = _columns(engine)
    with engine.begin() as connection:
        command.downgrade(schema.config_of(connection), "base")
    assert {table for table, *_ in _columns(engine)} == {"alembic_version"}
    with engine.begin() as connection:
        command.upgrade(schema.config_of(connection), "head")
    assert _columns(engine) == before


def test_the_tables_that_grow_are_vacuumed_soon_and_leave_room_for_updates_in_place(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE relkind = 'r'")
        found = {row[0]: row[1] for row in rows}
    for table in ("jobs", "job_logs", "webhook_events", "webhook_deliveries"):
        assert "autovacuum_vacuum_scale_factor=0.05" in found[table]
    for table in ("jobs", "nodes", "webhook_deliveries"):
        assert any(option.startswith("fillfactor=") for option in found[table])


def test_ten_that_migrate_at_once_take_turns(engine: Engine, database_settings: Settings) -> None:
    before = _columns(engine)
    with engine.begin() as connection:
        command.downgrade(schema.config_of(connection), "base")
        connection.exec_driver_sql("DROP TABLE alembic_version")
    with pytest.raises(DatabaseNotMigrated):
        schema.check(database_settings)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(schema.upgrade, [dataclasses.replace(database_settings) for _ in range(10)]))
    schema.check(database_settings)
    assert _columns(engine) == before


def test_a_newer_database_is_left_alone(engine: Engine, database_settings: Settings) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for refused in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseAhead):
            refused(database_settings)
