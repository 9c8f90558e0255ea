"""The id of this installation, created with the schema."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from ava.store.engine.database import Database
from ava.store.engine.statement import Statement

if TYPE_CHECKING:
    from ava.settings import Settings

_READ = Statement("SELECT id::text FROM installation")


def read_id(settings: Settings) -> str:
    """Return the installation's id. Raises `DatabaseUnavailable`."""
    with closing(Database.of(settings, name="installation", pool_size=1)) as database, database.connect() as connection:
        return str(connection.exec_driver_sql(_READ).scalar_one())
