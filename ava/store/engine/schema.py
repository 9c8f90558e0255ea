"""The database's schema: its upgrade, and the check that it is the one of this release."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError

from ava.errors import DatabaseAhead, DatabaseNotMigrated, StartError
from ava.settings import Settings
from ava.store.engine.database import driver_url
from ava.store.engine.statement import Statement

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["alembic_config", "check", "check_connection", "revisions", "upgrade"]

_MIGRATIONS = Path(__file__).parent.parent / "migrations"
_FILE = re.compile(r"r(\d+)_\w+\.py")

#: The key of the advisory lock under which the schema changes: "ava db" as a number.
_LOCK_KEY = 0x61766120_6462

_LOCK = Statement("SELECT pg_advisory_xact_lock(%(key)s)")
_VERSION_TABLE = Statement("SELECT to_regclass('alembic_version')")
_REVISION = Statement("SELECT version_num FROM alembic_version")


def upgrade(settings: Settings) -> None:
    """Upgrade the schema to this release. Many processes may do it at once, because they take turns.

    Raises `DatabaseAhead` if the database is of a newer release, `StartError` if it cannot be reached.
    """
    # Only here is Alembic imported, because every process checks the schema, and few upgrade it.
    from alembic import command

    with _connection(settings) as connection, connection.begin():
        # The lock ends with the transaction, so a crash frees it.
        connection.exec_driver_sql(_LOCK, {"key": _LOCK_KEY})
        _refuse_ahead(_revision(connection))
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    """Returns Alembic's configuration for our migrations on a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def check(settings: Settings) -> None:
    """Check that the schema is that of this release.

    Raises `DatabaseNotMigrated`, `DatabaseAhead`, or `StartError` if the database cannot be reached.
    """
    with _connection(settings) as connection:
        check_connection(connection)


def check_connection(connection: Connection) -> None:
    """Check the same on an open connection. Raises `DatabaseNotMigrated` or `DatabaseAhead`."""
    revision = _revision(connection)
    _refuse_ahead(revision)
    if revision != revisions()[-1]:
        raise DatabaseNotMigrated


def revisions() -> list[str]:
    """Returns the revisions of this release, oldest first, from the names of the migrations' files."""
    return sorted(found[1] for path in (_MIGRATIONS / "versions").iterdir() if (found := _FILE.fullmatch(path.name)))


def _revision(connection: Connection) -> str | None:
    if connection.exec_driver_sql(_VERSION_TABLE).scalar() is None:
        return None
    revision: str | None = connection.exec_driver_sql(_REVISION).scalar()
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
