"""`Durability: replicated`: 201 once a synchronous standby has applied the jobs, and 503 otherwise."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from ava import settings as settings_module
from ava.domain import ids
from ava.domain.jobs.job import Job
from ava.services.replication import NotReplicated, Replication
from ava.store.jobs import replication
from ava.store.jobs.replication import Position
from harness.api import HEADERS, JOBS, Api, error_of, wrong_fields
from harness.servers.postgres import running_postgres
from harness.servers.standby import Standby, streaming_standby
from tests.conftest import migrate

BODY = {"worker_id": "wkr_open"}
REPLICATED = {"Durability": "replicated"}


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[Api, Standby]]:
    """An API on a primary whose commits wait for no standby, and its synchronous standby."""
    with running_postgres() as primary:
        migrate(primary.url)
        with streaming_standby(primary) as standby:
            standby.make_synchronous(waits=False)
            environ = {"DATABASE_URL": primary.url, "BROKER_URL": "redis://127.0.0.1:1/0"}
            settings = settings_module.load({**environ, "AVA_INTERNAL_SECRET": HEADERS["x-internal-secret"]})
            with Api.running(settings) as api:
                yield api, standby


def test_without_a_synchronous_standby_nothing_is_stored(api: Api) -> None:
    response = api.post(JOBS, json=BODY, headers=REPLICATED)
    assert "synchronous_standby_names is empty" in error_of(response, 503, "unavailable")["message"]
    assert response.headers["Retry-After"]
    assert api.execute("SELECT count(*) FROM jobs") == [(0,)]


@pytest.mark.parametrize(("path", "durability"), [(JOBS, "local"), (JOBS, ""), (f"{JOBS}/cancel", "replicated")])
def test_what_cannot_be_promised_is_refused_by_name(api: Api, path: str, durability: str) -> None:
    response = api.post(
        path, json=BODY if path == JOBS else {"filter": {"status": "queued"}}, headers={"Durability": durability}
    )
    assert list(wrong_fields(response, 400)) == ["durability"]


def test_the_standby_has_the_jobs_before_the_response(replicated: tuple[Api, Standby]) -> None:
    api, standby = replicated
    first = api.post(JOBS, json=BODY, headers=REPLICATED)
    job_id = first.get_json()["data"]["id"]
    assert api.post(f"{JOBS}/{job_id}/cancel").status_code == 200
    again = api.post(f"{JOBS}/{job_id}/retry", headers={**REPLICATED, "Idempotency-Key": "one"})
    bulk = api.post(f"{JOBS}/bulk", json={"jobs": [BODY] * 3}, headers=REPLICATED)
    for response in (first, again, bulk):
        assert response.status_code == 201, response.text
        assert response.headers["Durability"] == "replicated"
    records = [first.get_json()["data"], again.get_json()["data"], *bulk.get_json()["data"]]
    assert all(standby.find(record["id"]) for record in records)
    assert "Durability" not in api.post(JOBS, json=BODY).headers


def test_a_standby_that_vanishes_meanwhile_is_no_success_until_it_is_back(
    replicated: tuple[Api, Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, standby = replicated
    monkeypatch.setattr(Replication, "max_seconds", 0.3)
    headers = {**REPLICATED, "Idempotency-Key": "vanished"}
    with standby.frozen():
        for _ in range(2):
            response = api.post(JOBS, json=BODY, headers=headers)
            assert "no synchronous standby has applied them" in error_of(response, 503, "unavailable")["message"]
            assert "Durability" not in response.headers
    monkeypatch.setattr(Replication, "max_seconds", 30.0)
    response = api.post(JOBS, json=BODY, headers=headers)
    assert (response.status_code, response.headers["Durability"]) == (201, "replicated")
    assert response.headers["Idempotent-Replayed"] == "true"
    assert standby.find(response.get_json()["data"]["id"])


def test_jobs_that_a_promotion_lost_are_not_confirmed(
    replicated: tuple[Api, Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, _ = replicated
    monkeypatch.setattr(Replication, "max_seconds", 0.1)
    with pytest.raises(NotReplicated):
        Replication(api.database).confirm([_lost_job()])
    with api.database.connect() as connection:
        assert replication.is_applied(connection, Position(timeline="0000FFFF", lsn="0/1")) is None


def _lost_job() -> Job:
    lost = object.__new__(Job)
    object.__setattr__(lost, "tenant_id", "ten_a")
    object.__setattr__(lost, "id", ids.encode("job", str(uuid.uuid4())))
    return lost


def test_a_role_that_may_not_see_the_standbys_is_named(replicated: tuple[Api, Standby]) -> None:
    api, _ = replicated
    api.execute("CREATE ROLE plain")
    with api.database.transaction() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE plain")
        assert not replication.read_standbys(connection).may_read


@pytest.mark.parametrize(
    ("names", "required"),
    [("", 0), ("*", 1), ("a, b", 1), ("FIRST 2 (a, b, c)", 2), ("any 3 (a)", 3), (' 2 ("a b", c)', 2), ('"2x"', 1)],
)
def test_the_number_of_standbys_is_that_of_the_setting(names: str, required: int) -> None:
    assert replication.required(names) == required
