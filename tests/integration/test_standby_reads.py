"""DATABASE_READ_URL: lists, logs and reports are read on a real standby, unless it is behind, away or failing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace

import pytest
from flask import Response, g

from ava import settings as settings_module
from ava.api.http import operations
from ava.api.http.operations import find_operation
from ava.cli.host import doctor, server_checks
from ava.errors import ConnectionsBusy, DatabaseUnavailable, StartError
from ava.settings import Settings
from ava.store.engine import standby as standby_module
from ava.store.engine.standby import StandbyRead
from ava.store.engine.statement import Statement
from harness.api import HEADERS, JOBS, Api, error_of
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.standby import Standby, streaming_standby
from tests.conftest import UNREACHABLE_BROKER, UNREACHABLE_DATABASE, migrate


@pytest.fixture(scope="module")
def standby() -> Iterator[Standby]:
    """A standby of a primary with migrated tables; `standby.primary_url` is where that is."""
    with running_postgres() as primary:
        migrate(primary.url)
        with streaming_standby(primary) as standby:
            yield standby


@pytest.fixture(scope="module")
def read_settings(standby: Standby) -> Settings:
    return settings_module.load(
        {
            "DATABASE_URL": standby.primary_url,
            "DATABASE_READ_URL": standby.url,
            "AVA_REPLICA_MAX_LAG_MS": "5000",
            "BROKER_URL": UNREACHABLE_BROKER,
            "AVA_INTERNAL_SECRET": HEADERS["x-internal-secret"],
        }
    )


@pytest.fixture(scope="module")
def reading(read_settings: Settings) -> Iterator[Api]:
    with Api.running(read_settings) as api:
        yield api


def _trigger(api: Api) -> str:
    response = api.post(JOBS, json={"worker_id": "wkr_open"})
    assert response.status_code == 201
    return str(response.json["data"]["id"])


def _is_of_standby(api: Api, path: str = JOBS) -> bool:
    response = api.get(path)
    assert response.status_code == 200, response.text
    return operations.LAG_HEADER in response.headers


def test_a_job_just_made_is_in_the_list_of_the_standby(reading: Api) -> None:
    for _ in range(20):
        job_id = _trigger(reading)
        response = reading.get(JOBS)
        assert response.json["data"][0]["id"] == job_id
        assert int(response.headers[operations.LAG_HEADER]) < 5000
    assert not _is_of_standby(reading, f"{JOBS}/{job_id}")


def test_every_route_that_may_read_there_does(reading: Api) -> None:
    job_id = _trigger(reading)
    paths = set()
    for rule in reading.app.url_map.iter_rules():
        declared = find_operation(reading.app.view_functions[rule.endpoint])
        if declared is not None and declared.reads_standby and set(rule.arguments) <= {"job_id"}:
            paths.add(rule.rule.replace("<job:job_id>", job_id))
    assert {f"{JOBS}/{job_id}/logs", "/v1/ava/analytics", "/v1/ava/overview", "/v1/ava/queues"} <= paths
    for path in sorted(paths):
        response = reading.get(path, headers={"x-platform-role": "platform-system-admin"})
        assert (response.status_code, operations.LAG_HEADER in response.headers) == (200, True), path


def test_a_standby_that_is_behind_is_not_read(read_settings: Settings, standby: Standby) -> None:
    with Api.running(replace(read_settings, replica_max_lag_ms=50)) as api:
        with standby.paused():
            job_id = _trigger(api)
            response = api.get(JOBS)
            assert response.json["data"][0]["id"] == job_id
            assert operations.LAG_HEADER not in response.headers
        wait_until(lambda: _is_of_standby(api), what="the standby is read again")


@pytest.mark.parametrize("is_primary", [True, False])
def test_the_primary_is_read_if_there_is_no_standby(
    read_settings: Settings, standby: Standby, is_primary: bool, caplog: pytest.LogCaptureFixture
) -> None:
    read_url = standby.primary_url if is_primary else UNREACHABLE_DATABASE
    with Api.running(replace(read_settings, database_read_url=read_url, replica_max_lag_ms=20)) as api:
        _trigger(api)
        assert not _is_of_standby(api)
        assert not _is_of_standby(api)
    reason = "its replication lag is too long, or it is not a standby" if is_primary else "it does not respond"
    logged = [record.message for record in caplog.records if "DATABASE_READ_URL" in record.message]
    assert logged == [f"DATABASE_READ_URL: the standby is not used, and reads go to the primary: {reason}"]


def test_a_standby_that_breaks_off_while_it_is_asked_how_far_it_is_costs_no_request(
    read_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Api.running(read_settings) as api:
        assert _is_of_standby(api)
        # As one that falls silent: the statement fails on a connection that was good when it was checked out.
        monkeypatch.setattr(
            standby_module,
            "_HAS_REPLAYED",
            Statement("SELECT pg_terminate_backend(pg_backend_pid()) AND %(position)s <> ''"),
        )
        assert not _is_of_standby(api)


def test_a_statement_that_fails_on_the_standby_is_repeated_on_the_primary(read_settings: Settings) -> None:
    with Api.running(read_settings) as api, ExitStack() as stack:
        stack.enter_context(api.app.test_request_context("/"))
        database = api.app.extensions["ava"].database
        seen: list[StandbyRead | None] = []

        def fail_there(error: Exception) -> Response:
            seen.append(g.standby_read)
            with database.connect():
                pass
            if g.standby_read is not None:
                raise error
            return Response()

        response = operations.respond_from_standby(lambda: fail_there(DatabaseUnavailable()), database)
        assert response.status_code == 200
        assert [read is None for read in seen] == [False, True]
        assert operations.LAG_HEADER not in response.headers
        # A standby whose connections are all in use gives its load to no other server.
        with pytest.raises(ConnectionsBusy):
            operations.respond_from_standby(lambda: fail_there(ConnectionsBusy()), database)


def test_the_doctor_says_how_far_behind_it_is(read_settings: Settings, standby: Standby) -> None:
    assert doctor._check_standby(read_settings).startswith("lags ")
    with pytest.raises(StartError, match="is not a standby, or it lags more than"):
        doctor._check_standby(replace(read_settings, database_read_url=standby.primary_url, replica_max_lag_ms=1))


@pytest.mark.parametrize("is_standby", [False, True])
def test_a_read_only_database_serves_reads_and_is_named_by_errors_readyz_metrics_and_doctor(
    read_settings: Settings, is_standby: bool, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("standby" if is_standby else "private_postgres")
    settings = replace(read_settings, database_url=server.url, database_read_url="")
    with Api.running(settings, workers=not is_standby) as api:
        with nullcontext() if is_standby else server.read_only():
            wait_until(lambda: not api.get("/readyz").json["checks"]["writes"]["ok"], what="the check fails")
            ready = api.get("/readyz")
            assert (ready.status_code, ready.json["status"]) == (200, "degraded")
            named = {name: check["ok"] for name, check in ready.json["checks"].items() if name != "broker"}
            assert named == {"database": True, "migrations": True, "writes": False, "disk": True}
            assert ready.json["checks"]["writes"]["reason"].startswith("The database is read-only")
            job = {"worker_id": "wkr_open"}
            for path, body in (
                (JOBS, job),
                (f"{JOBS}/bulk", {"jobs": [job]}),
                ("/v1/ava/events", {"type": "a.b", "data": {}}),
            ):
                error = error_of(api.post(path, json=body), 503, "unavailable")
                assert error["message"].startswith("The database is read-only"), path
            assert api.get(JOBS).status_code == 200
            assert "\nava_database_read_only 1.0" in api.get("/metrics").text
            cause = "it is a standby" if is_standby else "default_transaction_read_only is on"
            with pytest.raises(StartError, match=f"PostgreSQL is read-only, because {cause}"):
                server_checks.check_writes(settings)
        if not is_standby:
            wait_until(lambda: api.get("/readyz").json["checks"]["writes"]["ok"], what="the check succeeds")
            wait_until(lambda: "\nava_database_read_only 0.0" in api.get("/metrics").text, what="the metric follows")
