"""The schema: migrated by many processes at once, and recognised as older or newer."""

from __future__ import annotations

import dataclasses
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import IntegrityError

from ava import settings as settings_module
from ava.errors import DatabaseAhead, DatabaseNotMigrated, DatabaseUnreleased, StartError
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.store.migrations import compatibility
from tests.conftest import UNREACHABLE_BROKER
from tests.schemas import definitions, empty

_WEBHOOKS = ("webhook_events_first", "webhook_events_rest", "webhook_deliveries_first", "webhook_deliveries_rest")


def test_revisions_in_file_names_are_those_that_alembic_finds(engine: Engine) -> None:
    with engine.connect() as connection:
        found = ScriptDirectory.from_config(schema.alembic_config(connection)).walk_revisions()
        assert [script.revision for script in found] == schema.revisions()[::-1]


def test_growing_tables_have_autovacuum_settings_and_a_fillfactor(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE relkind = 'r'")
        found = {row[0]: row[1] for row in rows}
    for table in ("jobs", "job_logs_first", "job_logs_rest", *_WEBHOOKS):
        assert "autovacuum_vacuum_scale_factor=0.05" in found[table]
    for table in ("jobs", "nodes", "webhook_deliveries_first", "webhook_deliveries_rest"):
        assert any(option.startswith("fillfactor=") for option in found[table])


#: Changes that each break one rule of `ava_is_consistent_job`, of a queued job and of one that runs.
_INCONSISTENT = {
    "queued": (
        *("status = 'other'", "trigger = 'other'", "priority = 0", "priority = 11", "run_no = -1", "max_attempts = 0"),
        *("attempt = -1", "attempt = 4", "traceparent = 'other'", "parent_id = id", "started_at = now()"),
        *("node_id = id", "status = 'running'", "completed_at = now()", "end_no = 1", "run_at = now()"),
        *("waits_for = 'other'", "waits_for = 'retry'", "waits_for = 'permit'", "waits_for = 'node', run_at = now()"),
        *("waits_for = 'queue', published_at = now()", "error = 'e'", "stop_status = 'failed'"),
        *("cancel_requested_at = now()", "cancel_requested_at = now(), stop_status = 'completed'"),
    ),
    "running": (
        *("run_no = 0", "node_id = NULL", "started_at = NULL", "waits_for = 'jobs'", "status = 'completed'"),
        *("status = 'failed', completed_at = now()", "status = 'cancelled', completed_at = now()"),
        "status = 'completed', completed_at = now(), stop_status = 'failed', cancel_requested_at = now()",
        "status = 'completed', completed_at = now(), error = 'e'",
    ),
}


def test_no_statement_makes_a_job_inconsistent(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)"
            " VALUES ('ten_a', 'wkr_a', 'manual', 5, 'default', '{}', 'usr_a', 3)"
        )
        for status, changes in _INCONSISTENT.items():
            if status == "running":
                connection.exec_driver_sql(
                    "UPDATE jobs SET status = 'running', run_no = 1, started_at = now(), node_id = id"
                )
            for change in changes:
                with pytest.raises(IntegrityError, match="jobs_consistent"), connection.begin_nested():
                    connection.exec_driver_sql(f"UPDATE jobs SET {change}")
        connection.rollback()


#: Tables whose rows are of no tenant.
_OF_THE_PLATFORM = {
    *(
        "alembic_version",
        "schema_compatibility",
        "dispatcher_lease",
        "installation",
        "promotions",
        "count_progress",
        "job_totals",
    ),
    *("nodes", "queues", "closed_windows", "rate_states", "webhook_senders"),
    # The provider names people, and no tenants.
    "oidc_used",
    # One key signs the proofs of all tenants, because an auditor trusts an installation.
    "signing_keys",
}


def test_the_key_of_each_table_of_tenants_begins_with_the_tenant(engine: Engine) -> None:
    statement = (
        "SELECT c.relname, a.attname FROM pg_class AS c"
        " LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary"
        " LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    with engine.connect() as connection:
        first = {table: column for table, column in connection.exec_driver_sql(statement)}  # noqa: C416 - for mypy
    others = {table for table, column in first.items() if column != "tenant_id"}
    assert others == _OF_THE_PLATFORM


def test_the_table_of_jobs_has_at_most_54_columns_and_19_indexes_beside_its_key(engine: Engine) -> None:
    of_jobs = "attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped"
    with engine.connect() as connection:
        columns = connection.exec_driver_sql(f"SELECT count(*) FROM pg_attribute WHERE {of_jobs}").scalar_one()
        indexes = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_index WHERE indrelid = 'jobs'::regclass AND NOT indisprimary"
        ).scalar_one()
    # Each move of a job writes a whole row and an entry of each index that the row is in.
    # The 52nd is the origin: who caused a job must outlive its schedule, its event and the jobs above it.
    # The 53rd is the approval: what a trigger asks for must outlive what the job waits for first.
    # The 54th is the entered run: a containment is effective once each run of its scope has entered or ended.
    assert (columns <= 54, indexes <= 19) == (True, True), f"{columns} columns, {indexes} indexes"


def test_ten_concurrent_upgrades_of_an_empty_database_take_turns(engine: Engine, database_settings: Settings) -> None:
    # Made here and not before, because the partitions of days are those of the moment.
    empty(engine)
    schema.upgrade(database_settings)
    before = definitions(engine)
    empty(engine)
    with pytest.raises(DatabaseNotMigrated):
        schema.check(database_settings)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(schema.upgrade, [dataclasses.replace(database_settings) for _ in range(10)]))
    schema.check(database_settings)
    assert definitions(engine) == before


def test_a_database_of_a_newer_release_is_refused(engine: Engine, database_settings: Settings) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("UPDATE schema_compatibility SET oldest_revision = '9999'")
    for refused in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseAhead):
            refused(database_settings)


@pytest.mark.parametrize(
    "changes",
    [
        ("UPDATE schema_compatibility SET baseline_digest = 'of another text'",),
        ("ALTER TABLE schema_compatibility DROP COLUMN baseline_digest",),
        (
            "ALTER TABLE schema_compatibility DROP COLUMN baseline_digest",
            "UPDATE alembic_version SET version_num = '0060'",
        ),
        ("DROP TABLE schema_compatibility", "UPDATE alembic_version SET version_num = '0060'"),
    ],
    ids=["of another text", "before the digest", "before the baseline", "before the table"],
)
def test_a_schema_of_another_unreleased_commit_is_refused_with_what_to_do(
    engine: Engine, database_settings: Settings, changes: tuple[str, ...]
) -> None:
    with engine.begin() as connection:
        for change in changes:
            connection.exec_driver_sql(change)
    before = definitions(engine)
    for refused in (schema.check, schema.upgrade, schema.upgrade_sql, schema.downgrade):
        with pytest.raises(
            DatabaseUnreleased, match="back up what you need, then run `ava up --data-dir NEW_DIRECTORY`"
        ):
            refused(database_settings)
    assert definitions(engine) == before


def test_a_database_of_a_newer_release_is_of_the_same_baseline(engine: Engine, database_settings: Settings) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    schema.check(database_settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_compatibility SET baseline_digest = 'of another text'")
    with pytest.raises(DatabaseUnreleased):
        schema.check(database_settings)


def test_only_statements_change_the_digest_of_a_schema() -> None:
    of = compatibility.digest_of
    assert of(" -- Ids.\nCREATE TABLE ids (\n\n  id int\n);\n") == of("CREATE TABLE ids ( id int );\n--\n")
    assert of("CREATE TABLE ids (id int);") != of("CREATE TABLE ids (id bigint);")


# Servers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["CockroachDB CCL v24.2.4 (x86_64-pc-linux-gnu)", "PostgreSQL 14.11 (Debian)"])
def test_another_server_is_refused_before_anything_else_is_asked_of_it(
    engine: Engine, database_settings: Settings, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE FUNCTION version() RETURNS text LANGUAGE sql AS $$ SELECT '{version}' $$")
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    # It fails on the version of CockroachDB.
    monkeypatch.setattr(PGDialect, "initialize", lambda *_: pytest.fail("SQLAlchemy reads the version"))
    for refused in (schema.check, schema.upgrade, schema.state):
        with pytest.raises(StartError, match=r"^DATABASE_URL: the server is "):
            refused(database_settings)


def test_a_database_with_citus_is_refused(engine: Engine, database_settings: Settings) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("SET allow_system_table_mods = on")
        connection.exec_driver_sql("UPDATE pg_extension SET extname = 'citus' WHERE extname = 'plpgsql'")
    for refused in (schema.check, schema.upgrade):
        with pytest.raises(StartError, match="has the extension citus"):
            refused(database_settings)


# Roles ---------------------------------------------------------------------------------------------------------------


def test_an_upgrade_by_the_owner_gives_the_processes_rows_and_nothing_else(database_url: str) -> None:
    role = f"processes_{uuid.uuid4().hex}"
    # The password has a quote, and what PostgreSQL and its driver read as placeholders.
    url = urlsplit(database_url)
    at = url.netloc.rpartition("@")[2]
    of_processes = url._replace(netloc=f"{role}:pa%27s%25s%3Aword@{at}").geturl()
    settings = settings_module.load(
        {"DATABASE_URL": of_processes, "DATABASE_OWNER_URL": database_url, "BROKER_URL": UNREACHABLE_BROKER}
    )
    for _ in range(2):
        schema.upgrade(settings)
    schema.check(settings)
    with closing(psycopg2.connect(of_processes)) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM jobs")
        # The duty adds partitions by a function of the owner.
        cursor.execute("SELECT ava_add_partitions('job_logs', 12, 1) + ava_drop_log_days(30, 10)")
        # One more if midnight has come since the server's database was migrated.
        assert cursor.fetchone() in {(4,), (5,)}
        for table in ("audit", "events", "hook_deliveries", "webhook_deliveries", "webhook_events"):
            cursor.execute("SELECT ava_add_partitions(%s, 12, 1) + ava_drop_partition(%s, 90)", (table, table))
            assert cursor.fetchone() in {(4,), (5,)}
        cursor.execute("INSERT INTO webhook_events (tenant_id, type, sequence) VALUES ('ten_a', 'x', 1) RETURNING n")
        assert cursor.fetchone() == (1,)
        for refused in ("DROP TABLE jobs", "TRUNCATE jobs", "CREATE TABLE x ()", "DELETE FROM schema_compatibility"):
            connection.commit()
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(refused)
            connection.rollback()


#: Settings with which a statement, or a value in it, would mean something else.
_HARMFUL = {
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "IntervalStyle": "iso_8601",
    "array_nulls": "off",
    "transform_null_equals": "on",
}


def test_settings_of_the_role_that_change_the_meaning_of_statements_do_not_reach_them(
    engine: Engine, database_settings: Settings
) -> None:
    empty(engine)
    with engine.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        for setting, value in _HARMFUL.items():
            connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET {setting} = {value}")
    engine.dispose()
    schema.upgrade(database_settings)
    with closing(Database(database_settings.database_url, name="test")) as database, database.connect() as connection:
        assert {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in _HARMFUL} == {
            "standard_conforming_strings": "on",
            "client_encoding": "UTF8",
            "IntervalStyle": "postgres",
            "array_nulls": "on",
            "transform_null_equals": "off",
        }
        string = r"\d 漢字"
        assert connection.exec_driver_sql("SELECT %(text)s::text", {"text": string}).scalar() == string


def test_an_owner_that_may_create_no_role_gets_an_error_that_says_what_to_do(database_url: str) -> None:
    url = urlsplit(database_url)
    at = url.netloc.rpartition("@")[2]
    owner, missing = (f"{name}_{uuid.uuid4().hex}" for name in ("owner", "missing"))
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'; GRANT {owner} TO CURRENT_USER")
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {owner}")
        connection.commit()
    urls = {name: url._replace(netloc=f"{name}:x@{at}").geturl() for name in (owner, missing)}
    settings = settings_module.load(
        {"DATABASE_URL": urls[missing], "DATABASE_OWNER_URL": urls[owner], "BROKER_URL": UNREACHABLE_BROKER}
    )
    with pytest.raises(StartError, match=f"may not create the role '{missing}'"):
        schema.upgrade(settings)
