"""The database's schema: bringing it up to date, and knowing whether it is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError

from ava.errors import DatabaseAhead, DatabaseNotMigrated, StartError
from ava.settings import Settings
from ava.store.database import driver_url

__all__ = ["check", "check_on", "upgrade"]

#: The key of the advisory lock under which the schema changes: "ava db" as a number.
_LOCK_KEY = 0x61766120_6462


def upgrade(settings: Settings) -> None:
    """Bring the schema up to date; safe when many processes do it at once, since they take turns.

    Raises `DatabaseAhead` where the database is newer than this code, `StartError` where it is out of reach.
    """
    with _connection(settings) as connection, connection.begin():
        # Transaction-scoped, so that no crash leaves it held.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        config = _config()
        _refuse_ahead(connection, config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check(settings: Settings) -> None:
    """Make sure that the schema is the one this code was written for.

    Raises `DatabaseNotMigrated`, `DatabaseAhead`, or `StartError` where the database is out of reach.
    """
    with _connection(settings) as connection:
        check_on(connection)


def check_on(connection: Connection) -> None:
    """Make sure of the same on a connection that is there already. Raises `DatabaseNotMigrated`, `DatabaseAhead`."""
    config = _config()
    _refuse_ahead(connection, config)
    if _revision(connection) != ScriptDirectory.from_config(config).get_current_head():
        raise DatabaseNotMigrated


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _refuse_ahead(connection: Connection, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if (revision := _revision(connection)) is not None and revision not in known:
        raise DatabaseAhead


def _connection(settings: Settings) -> Connection:
    engine = create_engine(driver_url(settings.database_url), connect_args={"connect_timeout": 5})
    try:
        return engine.connect()
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise StartError(f"DATABASE_URL: the database cannot be reached: {reason}") from None
