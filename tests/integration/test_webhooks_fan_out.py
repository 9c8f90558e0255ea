"""Fan-out: bounded in deliveries and bytes, tenants in turn, and an event that fails stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner

from ava.cli.main import cli
from ava.delivery.fan_out import MAX_DELIVERIES, FanOut
from ava.store.webhooks import endpoint_leases, fan_out
from harness.api import Api, error_of

OTHER = {"x-tenant-id": "ten_other"}
SECRET = "of-the-tests-of-fan-out"


def _subscribe(api: Api, **rest: Any) -> None:
    body = {"url": "https://example.com/", "events": ["ava.job.queued"], "secret": SECRET}
    assert api.post("/v1/webhooks", json=body, **rest).status_code == 201


def _copy_endpoints(api: Api, tenant_id: str, count: int) -> None:
    api.execute(
        "WITH made AS (INSERT INTO webhook_endpoints (tenant_id, url, events, secret) SELECT tenant_id, url, events,"
        " secret FROM webhook_endpoints, generate_series(1, %s) WHERE tenant_id = %s RETURNING tenant_id, id)"
        " INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM made",
        count,
        tenant_id,
    )


def _bulk(api: Api, count: int, job: dict[str, Any] | None = None) -> None:
    jobs = [{"worker_id": "wkr_open", **(job or {})}] * count
    assert api.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).status_code == 201


def _deliveries(api: Api, tenant_id: str) -> int:
    ((count,),) = api.execute(
        "SELECT count(*) FROM webhook_deliveries AS d JOIN webhook_endpoints AS p ON p.id = d.endpoint_id"
        " WHERE p.tenant_id = %s",
        tenant_id,
    )
    return int(count)


def _waiting(api: Api) -> int:
    ((count,),) = api.execute("SELECT count(*) FROM webhook_events WHERE fanned_out_at IS NULL")
    return int(count)


def _run_until_done(api: Api, fan_out: FanOut, max_runs: int = 60) -> None:
    for _ in range(max_runs):
        if not _waiting(api):
            return
        fan_out.run_once()
    pytest.fail(f"{_waiting(api)} events are left after {max_runs} runs")


def test_a_tenant_with_thousands_of_endpoints_is_fanned_out_in_slices_and_delays_no_other(api: Api) -> None:
    _subscribe(api)
    _copy_endpoints(api, "ten_test", 1_199)
    _subscribe(api, headers=OTHER)
    _bulk(api, 5)
    api.trigger(headers=OTHER)
    fan_out, counts = FanOut(api.database), [0]
    while _waiting(api):
        fan_out.run_once()
        counts.append(_deliveries(api, "ten_test"))
        assert _deliveries(api, "ten_other") == 1, "the other tenant is served by the first batch"
        assert counts[-1] - counts[-2] <= MAX_DELIVERIES
        assert len(counts) < 60
    assert counts[-1] == 5 * 1_200
    # Each endpoint received each event once, in the order of the events.
    assert api.execute("SELECT count(*) - count(DISTINCT (endpoint_id, event_id)) FROM webhook_deliveries") == [(0,)]
    assert api.execute(
        "SELECT count(*) FROM webhook_deliveries AS a JOIN webhook_deliveries AS b USING (endpoint_id)"
        " WHERE a.n < b.n AND a.due_at > b.due_at"
    ) == [(0,)]


def test_the_delay_is_that_of_the_tenant_that_is_least_behind(api: Api) -> None:
    _subscribe(api)
    _subscribe(api, headers=OTHER)
    fan_out = FanOut(api.database)
    assert (fan_out.run_once(), fan_out.delay_seconds) == (0, 0.0)
    _bulk(api, 3)
    api.execute("UPDATE webhook_events SET created_at = created_at - n * interval '1 minute'")
    api.execute("UPDATE webhook_endpoints SET created_at = created_at - interval '1 day'")
    ((oldest,),) = api.execute("SELECT extract(epoch FROM now() - created_at) FROM webhook_events ORDER BY n LIMIT 1")
    api.trigger(headers=OTHER)
    fan_out.run_once()
    assert fan_out.delay_seconds < 30, "the other tenant is not behind"
    api.execute("UPDATE webhook_events SET fanned_out_at = NULL WHERE tenant_id = 'ten_test'")
    fan_out.run_once()
    assert oldest <= fan_out.delay_seconds < float(oldest) + 30, "it is that of the tenant's first event"
    fan_out.run_once()
    assert fan_out.delay_seconds == 0


def test_a_batch_is_bounded_by_the_bytes_of_its_payloads_and_not_by_those_that_are_stored(api: Api) -> None:
    _subscribe(api)
    _bulk(api, 12, {"input": {"text": "x" * 1_000_000}})
    ((stored,),) = api.execute("SELECT sum(pg_column_size(input)) FROM jobs")
    assert stored < 1_000_000, "PostgreSQL compresses these payloads"
    fan_out_of_one, bodies = FanOut(api.database), [0]
    while _waiting(api):
        fan_out_of_one.run_once()
        ((size,),) = api.execute("SELECT sum(octet_length(body)) FROM webhook_events")
        bodies.append(int(size))
        assert bodies[-1] - bodies[-2] <= fan_out.MAX_BYTES + 1_100_000
        assert len(bodies) < 60
    assert _deliveries(api, "ten_test") == 12


def test_tenants_take_turns(api: Api) -> None:
    _subscribe(api)
    _subscribe(api, headers=OTHER)
    _bulk(api, 500)
    api.trigger(headers=OTHER)
    assert FanOut(api.database).run_once() > 1
    assert _deliveries(api, "ten_other") == 1


def test_every_tenant_gets_a_turn_however_many_there_are(api: Api) -> None:
    _subscribe(api)
    _bulk(api, 130)
    # Each event of a tenant of its own, with an endpoint of its own.
    api.execute("UPDATE webhook_events SET tenant_id = 'ten_' || n")
    api.execute("UPDATE jobs AS j SET tenant_id = e.tenant_id FROM webhook_events AS e WHERE e.job_id = j.id")
    api.execute(
        "INSERT INTO webhook_endpoints (tenant_id, url, events, secret, created_at)"
        " SELECT tenant_id, 'https://example.com/', ARRAY['ava.job.queued'], 's', '2020-01-01' FROM webhook_events"
    )
    api.execute(
        "INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM webhook_endpoints"
        " ON CONFLICT DO NOTHING"
    )
    _run_until_done(api, FanOut(api.database), max_runs=5)
    assert api.execute("SELECT count(DISTINCT endpoint_id) FROM webhook_deliveries") == [(130,)]


# Each makes the event of the job number `n` fail: when its delivery is created, and when its payload is read.
REFUSALS = {
    "by the database": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'secret text'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON webhook_deliveries FOR EACH ROW WHEN (NEW.n = {n})"
        " EXECUTE FUNCTION refuse()",
        "DROP TRIGGER refuse ON webhook_deliveries",
    ),
    "by our own code": (
        "ALTER TABLE jobs DROP CONSTRAINT jobs_consistent",
        "UPDATE jobs SET trigger = 'secret text' WHERE id = (SELECT job_id FROM webhook_events WHERE n = {n})",
        "UPDATE jobs SET trigger = 'manual'",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_event_that_fails_becomes_a_dead_letter_and_can_be_retried(
    api: Api, refusal: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database_url: str
) -> None:
    _subscribe(api)
    _bulk(api, 20)
    ((number, event_id),) = api.execute("SELECT n, id::text FROM webhook_events ORDER BY n LIMIT 1 OFFSET 7")
    *spoil, repair = REFUSALS[refusal]
    for statement in spoil:
        api.execute(statement.format(n=number))
    _run_until_done(api, FanOut(api.database))
    assert _deliveries(api, "ten_test") == 19
    ((aside, error),) = api.execute("SELECT row_id::text, error FROM dead_letters")
    assert aside == event_id
    assert "secret text" not in error + caplog.text
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1/0")
    assert "1 row is a dead letter" in CliRunner().invoke(cli, ["doctor"]).output
    metrics = api.get("/metrics").text
    assert "ava_dead_letters 1.0" in metrics
    api.execute(repair)
    assert "Returned 1 dead letter" in CliRunner().invoke(cli, ["webhooks", "--retry-dead-letters"]).output
    _run_until_done(api, FanOut(api.database))
    assert _deliveries(api, "ten_test") == 20


def test_events_that_retention_deletes_in_the_middle_of_a_batch_stop_no_other(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    _subscribe(api)
    api.trigger()
    read = fan_out.payloads

    def delete_and_read(connection: Any, uuids: Any) -> Any:
        api.execute("DELETE FROM webhook_events")
        return read(connection, uuids)

    one = FanOut(api.database)
    with monkeypatch.context() as patch:
        patch.setattr(fan_out, "payloads", delete_and_read)
        assert one.run_once() == 0
    api.trigger()
    _run_until_done(api, one)
    assert _deliveries(api, "ten_test") == 1


def test_a_tenant_has_at_most_a_hundred_webhooks(api: Api) -> None:
    _subscribe(api)
    _copy_endpoints(api, "ten_test", 98)
    body = {"url": "https://example.com/", "events": ["ava.job.queued"], "secret": SECRET}
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: api.post("/v1/webhooks", json=body), range(4)))
    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409]
    full = next(response for response in responses if response.status_code == 409)
    assert "(limit webhooks)" in error_of(full, 409, "resource_conflict")["message"]
    used = {limit["name"]: limit["used"] for limit in api.get("/v1/ava/limits?per_page=100").get_json()["data"]}
    assert used["webhooks"] == 100
    # One that is deleted makes room, and another tenant has its own.
    webhook_id = next(response for response in responses if response.status_code == 201).get_json()["data"]["id"]
    assert api.request("DELETE", f"/v1/webhooks/{webhook_id}").status_code == 200
    _subscribe(api)
    _subscribe(api, headers=OTHER)


@contextmanager
def _locked(database_url: str, statement: str) -> Iterator[None]:
    connection = psycopg2.connect(database_url)
    try:
        connection.cursor().execute(statement)
        yield
    finally:
        connection.rollback()
        connection.close()


def test_a_lock_that_stops_one_tenant_s_events_stops_no_other_s(
    api: Api, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(fan_out, "LOCK_SECONDS", 0.05)
    _subscribe(api)
    _bulk(api, 3)
    _subscribe(api, headers={"x-tenant-id": "ten_z"})
    api.trigger(headers={"x-tenant-id": "ten_z"})
    lock = (
        "SELECT 1 FROM webhook_lanes AS l JOIN webhook_endpoints AS p ON p.id = l.endpoint_id"
        " WHERE p.tenant_id = 'ten_test' FOR UPDATE OF l"
    )
    of_one = FanOut(api.database)
    with _locked(database_url, lock):
        for _ in range(20):
            of_one.run_once()
        assert _deliveries(api, "ten_z") == 1
        assert _deliveries(api, "ten_test") == 0
    _run_until_done(api, of_one)
    assert _deliveries(api, "ten_test") == 3
    assert api.execute("SELECT count(*) FROM dead_letters") == [(0,)]


def test_an_event_whose_statement_takes_too_long_is_set_aside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "STATEMENT_SECONDS", 0.1)
    _subscribe(api)
    _bulk(api, 3)
    api.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$"
    )
    api.execute(
        "CREATE TRIGGER dawdle BEFORE INSERT ON webhook_deliveries FOR EACH ROW"
        " WHEN (NEW.n % 3 = 0) EXECUTE FUNCTION dawdle()".replace("%", "%%")
    )
    _run_until_done(api, FanOut(api.database))
    assert _deliveries(api, "ten_test") == 2
    ((error,),) = api.execute("SELECT error FROM dead_letters")
    assert error == "QueryCanceled, SQLSTATE 57014: canceling statement due to statement timeout"


def test_large_bodies_are_read_when_their_request_begins(api: Api) -> None:
    _subscribe(api)
    _bulk(api, 1)
    _bulk(api, 1, {"input": {"text": "x" * 100_000}})
    _run_until_done(api, FanOut(api.database))
    with api.database.connect() as connection:
        sender = "00000000-0000-7000-8000-000000000009"
        endpoint_leases.heartbeat(connection, sender_id=sender, host="h", pid=1, dead_after_seconds=60, held=[])
        (held,) = endpoint_leases.acquire(
            connection, sender_id=sender, health=endpoint_leases.EndpointHealth.UNKNOWN, limit=1
        )
        assert held.tenant_id == "ten_test"
        small, large = endpoint_leases.due_deliveries(
            connection, sender_id=sender, capacities={held.endpoint: 10}, in_flight=()
        )
        assert small.body is not None
        assert small.bytes_to_read == 0
        assert large.body is None
        body = endpoint_leases.read_body(connection, tenant_id=large.tenant_id, event_id=large.event_id)
        assert body is not None
        assert len(body) == large.bytes_to_read > 100_000
