"""Every statement of the store is valid on the current schema."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import create_engine

from ava.settings import Settings
from ava.store import statements
from ava.store.engine.database import driver_url

#: EXPLAIN takes these; roles are created and granted rights by others, which have tests of their own.
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def test_postgresql_plans_every_statement(database_settings: Settings) -> None:
    with create_engine(driver_url(database_settings.database_url)).connect() as connection:
        for name, statement in statements.all_statements().items():
            text = re.sub(r"%\((\w+)\)s", "NULL", statement).replace("%%", "%").replace("%", "%%")
            if text.split()[0] not in _PLANNED:
                continue
            try:
                connection.exec_driver_sql(f"EXPLAIN {text}")
            except Exception as error:
                pytest.fail(f"{name}: {error}")
