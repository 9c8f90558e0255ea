"""The application in this process, called as a client calls it, and its database, changed as nodes change it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from ava import settings as settings_module
from ava.api.app import make_app
from ava.domain.access.caller import Caller, Role
from ava.domain.worker import OnWorkerLost, WorkerSpec, WorkerStatus
from ava.services.workers import WorkerChange
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.fleet import workers
from harness.polling import wait_until

JOBS = "/v1/ava/jobs"
HEADERS = {
    "x-internal-secret": "of-all-the-tests",
    "x-tenant-id": "ten_test",
    "x-user-id": "usr_test",
    "x-platform-role": "tenant-system-admin",
}
NODE = "00000000-0000-7000-8000-000000000001"
#: The fields of a record, in the contract's order.
FIELDS = [
    *("id", "worker_id", "tenant_id", "status", "trigger", "priority", "input", "triggered_by", "created_at"),
    *("started_at", "completed_at", "duration_ms", "output", "error", "scheduled_at", "attempt", "max_attempts"),
    *("cancel_requested_at", "cancelled_by", "progress", "retry_of", "tags", "expires_at"),
    *("parent_id", "tree_id", "waiting_for", "deadline_at", "usage", "waits_for", "origin"),
]


class _Rule(Rule):
    """The rule of a route, which is compiled once for the process, and not again for each application.

    This is most of the processor time of a new application.
    """

    _compiled: ClassVar[dict[tuple[object, ...], Rule]] = {}

    def compile(self) -> None:
        """Take what the same rule of an earlier application has compiled."""
        if self.defaults or self.host or self.subdomain:
            super().compile()
            return
        key = (self.rule, self.strict_slashes, self.merge_slashes)
        first = self._compiled.setdefault(key, self)
        if first is self:
            super().compile()
        else:
            names = ("_parts", "_trace", "_converters", "_build", "_build_unknown", "arguments")
            self.__dict__.update({name: first.__dict__[name] for name in names})


Flask.url_rule_class = _Rule


class Api:
    """One application."""

    def __init__(self, app: Flask, database: Database) -> None:
        self.app = app
        self.database = database
        # A test sends the cookies that it means to send.
        self._client = app.test_client(use_cookies=False)

    @classmethod
    @contextmanager
    def running(cls, settings: Settings, *, workers: bool = True) -> Iterator[Api]:
        """An application; everything that it opened is closed afterwards."""
        database = Database.of(settings, name="tests", pool_size=4)
        app = make_app(settings)
        api = cls(app, database)
        # A database from the template of these tests has them already.
        if workers and not api.execute("SELECT 1 FROM workers LIMIT 1"):
            api.announce("wkr_open")
            api.announce("wkr_theirs", tenants=("ten_other",))
            api.announce("wkr_paused")
            api.set_status("wkr_paused", "paused")
        try:
            yield api
        finally:
            app.extensions["ava"].close()
            database.close()

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str | None] | None = None, **rest: Any
    ) -> TestResponse:
        """Send a request with the four headers; `headers={name: None}` leaves one out. Returns the response."""
        sent = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value is not None}
        return self._client.open(path, method=method, headers=sent, **rest)

    def get(self, path: str, **rest: Any) -> TestResponse:
        """GET; see `request`."""
        return self.request("GET", path, **rest)

    def post(self, path: str, **rest: Any) -> TestResponse:
        """POST; see `request`."""
        return self.request("POST", path, **rest)

    def put(self, path: str, **rest: Any) -> TestResponse:
        """PUT; see `request`."""
        return self.request("PUT", path, **rest)

    def post_raw(
        self, body: bytes, path: str = "/v1/ava/jobs", content_type: str | None = "application/json"
    ) -> TestResponse:
        """POST bytes without encoding them."""
        return self.post(path, data=body, content_type=content_type)

    def trigger(
        self, worker_id: str = "wkr_open", *, headers: Mapping[str, str | None] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Trigger a job that must be accepted. Returns its record."""
        response = self.post("/v1/ava/jobs", json={"worker_id": worker_id, **fields}, headers=headers)
        assert response.status_code == 201, response.text
        record: dict[str, Any] = response.get_json()["data"]
        return record

    def announce(
        self, worker_id: str, *, tenants: tuple[str, ...] | None = None, input_schema: Mapping[str, Any] | None = None
    ) -> None:
        """Announce a worker, as a node does at its start."""
        schema = None if input_schema is None else json.dumps(input_schema)
        spec = WorkerSpec(
            id=worker_id,
            name=worker_id,
            description="",
            timeout_seconds=300,
            max_retries=0,
            cancel_grace_seconds=10,
            queue="default",
            tenants=tenants,
            on_worker_lost=OnWorkerLost.REQUEUE,
            input_schema_json=schema,
        )
        with self.database.connect() as connection:
            workers.announce(connection, [spec])

    def set_status(self, worker_id: str, status: str) -> None:
        """Set the status of a worker for all tenants, as an operator does."""
        operator = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.PLATFORM_ADMIN)
        change = WorkerChange(is_of_platform=True, fields={"status": WorkerStatus(status)})
        self.app.extensions["ava"].workers.change(operator, worker_id, change)

    def execute(self, statement: str, *parameters: Any) -> list[Any]:
        """Run SQL. Returns its rows."""
        with self.database.connect() as connection:
            result = connection.exec_driver_sql(statement, parameters or None)
            return list(result) if result.returns_rows else []

    def wait_for_blocked(self, sessions: int = 1) -> None:
        """Wait until so many sessions of the database wait for a lock."""
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        wait_until(lambda: self.execute(blocked) == [(sessions,)], what="a session that waits for a lock")

    def rows_read(self, table: str) -> int:
        """Returns how many rows of a table and its partitions, and entries of their indexes, were read so far.

        A session reports what it has read when it ends, or when it has been idle for a while. So the application's are
        closed; it opens others.
        """
        self.app.extensions["ava"].database.close()
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ava api'"
        )
        wait_until(lambda: self.execute(others) == [(0,)], what="the application's sessions have ended")
        self.execute("SELECT pg_stat_force_next_flush()")
        ((count,),) = self.execute(
            "SELECT sum(t.idx_tup_fetch + t.seq_tup_read + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i"
            " WHERE i.relid = t.relid)) FROM pg_partition_tree(%s) AS p JOIN pg_stat_user_tables AS t USING (relid)",
            table,
        )
        return int(count)


def announce_workers(database_url: str) -> None:
    """Announce the workers of `Api.running` in a database that is a template."""
    environ = {"DATABASE_URL": database_url, "BROKER_URL": "redis://127.0.0.1:1/0"}
    secret = {"AVA_INTERNAL_SECRET": HEADERS["x-internal-secret"]}
    with Api.running(settings_module.load(environ | secret)):
        pass


def error_of(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Returns the error of a response, which must be in the contract's shape."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/json"
    body = json.loads(response.data)
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert set(error) - {"fields"} == {"code", "message", "request_id", "docs_url"}
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def wrong_fields(response: TestResponse, status: int = 422) -> dict[str, list[str]]:
    """Returns what a response says of each wrong field or parameter, by its name."""
    fields: dict[str, list[str]] = error_of(response, status, "validation_error")["fields"]
    return fields
