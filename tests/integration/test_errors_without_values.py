"""An error of a statement shows no value of a row or a parameter, wherever it is logged."""

from __future__ import annotations

import traceback
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest

from ava.errors import DatabaseUnavailable, StatementFailed
from ava.store.engine.database import Connection, Database
from ava.store.engine.prepared import Prepared
from harness.api import Api

_VALUE = "a-value-of-a-tenant"
#: Each fails in PostgreSQL with a message, a detail or a position that quotes the value.
_FAILING = {
    "a duplicate key": "INSERT INTO closed_windows (queue, priority) SELECT %(value)s, n FROM unnest(ARRAY[1, 1]) AS n",
    "a failing row": "INSERT INTO webhook_endpoints (tenant_id, url, events) VALUES (%(value)s, %(value)s, '{{}}')",
    "an invalid number": "SELECT %(value)s::int",
    "an invalid statement": "SELECT %(value)s FROM",
    "a raised message": "SELECT 1 / (length(%(value)s) - length(%(value)s)), xmlparse(content %(value)s || '<')",
    "a time-out": "SELECT pg_sleep(9), %(value)s::text",
}


@pytest.mark.parametrize("way", ["connect", "transaction", "dedicated", "prepared"])
def test_an_error_holds_no_value(database_url: str, way: str) -> None:
    for failure, statement in _FAILING.items():
        database = Database(database_url, name="test", statement_seconds=0.1)
        dedicated = database.dedicated()
        ways: dict[str, Any] = {"dedicated": lambda connection=dedicated: connection, "prepared": database.connect}
        checkout: AbstractContextManager[Connection] = ways.get(way, getattr(database, way, None))()
        with pytest.raises((StatementFailed, DatabaseUnavailable)) as caught, checkout as connection:
            _run(connection, statement, is_prepared=way == "prepared")
        assert "SQLSTATE" in str(caught.value.__cause__ or caught.value), failure
        assert _VALUE not in "".join(traceback.format_exception(caught.value)), failure
        with suppress(Exception):
            dedicated.close()
        database.close()


def _run(connection: Connection, statement: str, *, is_prepared: bool) -> None:
    if is_prepared:
        Prepared("failing", statement.replace("%(value)s", "%(value)s::text")).run(connection, {"value": _VALUE})
    else:
        connection.exec_driver_sql(statement, {"value": _VALUE})


def test_a_request_that_fails_logs_no_url_and_no_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.execute("ALTER TABLE webhook_endpoints ADD CONSTRAINT none CHECK (url IS NULL)")
    body = {"url": f"https://example.com/{_VALUE}", "events": ["ava.job.failed"], "secret": "of-the-tests-long"}
    assert api.post("/v1/webhooks", json=body).status_code == 500
    assert "CheckViolation, SQLSTATE 23514" in caplog.text
    assert _VALUE not in caplog.text
