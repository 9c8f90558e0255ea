"""What a tenant stores is measured in pages, and limited."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ava.dispatcher.duties import statistics
from ava.dispatcher.duties.statistics import StoredBytes
from ava.settings import Settings
from ava.store.reports import storage
from harness.api import JOBS, Api, error_of

#: Bytes that PostgreSQL cannot make smaller by much.
INPUT = {"text": secrets.token_hex(5_000)}
TENANT, OTHER = "ten_test", "ten_other"


@pytest.fixture
def api(api_settings: Settings) -> Iterator[Api]:
    with Api.running(replace(api_settings, tenant_max_stored_bytes=50_000)) as running:
        yield running


def _measured(api: Api, tenant_id: str) -> int:
    with api.database.connect() as connection:
        found = storage.measured(connection, tenant_id=tenant_id)
    return 0 if found is None else found.stored_bytes


def _pass(api: Api, duty: StoredBytes, now: float) -> int:
    """Call the duty until it has completed a pass."""
    for _ in range(100):
        if count := duty.run_once(now):
            return count
    raise AssertionError("no pass was completed")


def test_everything_that_a_tenant_stores_is_measured_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_PAGE_ROWS", 2)
    monkeypatch.setattr(statistics, "_PAGES_SECONDS", 0)
    jobs = [api.trigger(input=INPUT) for _ in range(3)]
    api.trigger(headers={"x-tenant-id": OTHER})
    duty = StoredBytes(api.database)
    assert _pass(api, duty, 0) == 2
    before, other = _measured(api, TENANT), _measured(api, OTHER)
    assert 3 * 5_000 < before < 3 * 12_000
    assert 0 < other < 2_000

    content = secrets.token_hex(2_000)
    for n in range(5):
        api.execute(
            "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
            " SELECT tenant_id, id, %s, ARRAY[now()], 'i', ARRAY[%s] FROM jobs "
            "WHERE tenant_id = %s",
            n,
            content,
            TENANT,
        )
    assert duty.run_once(5) == 0, "the next pass begins later"
    _pass(api, duty, 20)
    assert 15 * 2_000 < _measured(api, TENANT) - before < 15 * 5_000
    assert _measured(api, OTHER) == other

    # What is deleted counts no more, nor does a tenant without anything.
    api.execute("DELETE FROM job_logs")
    api.execute("DELETE FROM jobs WHERE tenant_id = %s", OTHER)
    _pass(api, duty, 40)
    assert (_measured(api, TENANT), _measured(api, OTHER)) == (before, 0)
    assert len(jobs) == 3


def test_a_tenant_that_stores_too_much_may_trigger_no_more(api: Api) -> None:
    for _ in range(4):
        api.trigger(input=INPUT)
    refused = api.post(JOBS, json={"worker_id": "wkr_open", "input": INPUT})
    assert "(limit tenant_stored_bytes)" in error_of(refused, 429, "rate_limited")["message"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert api.trigger(input=INPUT, headers={"x-tenant-id": OTHER})["status"] == "queued"
    _pass(api, StoredBytes(api.database), 0)
    limits = {each["name"]: each for each in api.get("/v1/ava/limits?per_page=100").get_json()["data"]}
    shown = limits["tenant_stored_bytes"]
    assert (shown["value"], shown["used_is_exact"]) == (50_000, False)
    assert shown["used"] == _measured(api, TENANT) > 4 * 5_000
