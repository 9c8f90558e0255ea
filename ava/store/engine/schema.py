"""The database's schema: bringing it up to date, and knowing whether it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError

from ava.errors import DatabaseAhead, DatabaseNotMigrated, StartError
from ava.settings import Settings
from ava.store.engine.database import driver_url

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["alembic_config", "check", "check_connection", "revisions", "upgrade"]

_MIGRATIONS = Path(__file__).parent.parent / "migrations"
_FILE = re.compile(r"r(\d+)_\w+\.py")

#: The key of the advisory lock under which the schema changes: "ava db" as a number.
_LOCK_KEY = 0x61766120_6462


def upgrade(settings: Settings) -> None:
    """Bring the schema up to date; safe when many processes do it at once, since they take turns.

    Raises `DatabaseAhead` where the database is newer than this code, `StartError` where it is out of reach.
    """
    # Alembic is loaded here alone: every process of ours checks the schema, and hardly any changes it.
    from alembic import command

    with _connection(settings) as connection, connection.begin():
        # Transaction-scoped, so that no crash leaves it held.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        _refuse_ahead(_revision(connection))
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for our migrations on a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def check(settings: Settings) -> None:
    """Make sure that the schema is the one this code was written for.

    Raises `DatabaseNotMigrated`, `DatabaseAhead`, or `StartError` where the database is out of reach.
    """
    with _connection(settings) as connection:
        check_connection(connection)


def check_connection(connection: Connection) -> None:
    """Make sure of the same on a connection that is there already. Raises `DatabaseNotMigrated`, `DatabaseAhead`."""
    revision = _revision(connection)
    _refuse_ahead(revision)
    if revision != revisions()[-1]:
        raise DatabaseNotMigrated


def revisions() -> list[str]:
    """The revisions that this code knows, oldest first, as the names of the migrations' files tell."""
    return sorted(found[1] for path in (_MIGRATIONS / "versions").iterdir() if (found := _FILE.fullmatch(path.name)))


def _revision(connection: Connection) -> str | None:
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _refuse_ahead(revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        raise DatabaseAhead


def _connection(settings: Settings) -> Connection:
    engine = create_engine(driver_url(settings.database_url), connect_args={"connect_timeout": 5})
    try:
        return engine.connect()
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise StartError(f"DATABASE_URL: the database cannot be reached: {reason}") from None
