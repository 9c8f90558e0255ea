"""Every statement of the store is valid on the current schema."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import create_engine

from ava.settings import Settings
from ava.store import statements
from ava.store.engine.database import Database, driver_url
from ava.store.engine.prepared import Prepared

#: EXPLAIN takes these; roles are created and granted rights by others, which have tests of their own.
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
#: Where another statement of the same message begins.
_STATEMENT_BEGINS = re.compile(rf";\s*(?={'|'.join(_PLANNED)})")


def test_postgresql_plans_every_statement(database_settings: Settings) -> None:
    with create_engine(driver_url(database_settings.database_url)).connect() as connection:
        for name, statement in statements.all_statements().items():
            # A null number of rows is an error there.
            counted = re.sub(r"FETCH FIRST %\(\w+\)s", "FETCH FIRST 1", statement)
            sql = re.sub(r"%\((\w+)\)s", "NULL", counted).replace("%%", "%").replace("%", "%%")
            if sql.split()[0] not in _PLANNED:
                continue
            try:
                for each in _STATEMENT_BEGINS.split(sql):
                    connection.exec_driver_sql(f"EXPLAIN {each}")
            except Exception as error:
                pytest.fail(f"{name}: {error}")


@pytest.mark.parametrize("plan_seconds", [0.0, 60.0])
def test_a_prepared_statement_is_planned_anew_after_its_seconds(
    database_settings: Settings, plan_seconds: float
) -> None:
    statement = Prepared("of_a_test", "SELECT %(n)s::int", plan_seconds=plan_seconds)
    database = Database(database_settings.database_url, name="test")
    with database.connect() as connection:

        def prepared_at() -> object:
            assert statement.run(connection, {"n": 1}) == [(1,)]
            found = connection.exec_driver_sql("SELECT prepare_time FROM pg_prepared_statements")
            return found.scalar_one()

        first, second = prepared_at(), prepared_at()
        assert (first == second) is (plan_seconds > 0)
        connection.exec_driver_sql("DEALLOCATE ALL")
        assert [statement.run(connection, {"n": n}) for n in (2, 3)] == [[(2,)], [(3,)]]
    database.close()
