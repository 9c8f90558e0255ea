"""The queued jobs and bytes of a tenant are limited without counting them for every job."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.services.creation.quotas import QueuedJobsQuota, StoredBytesQuota
from ava.store.reports import storage, tenant_usage
from ava.store.reports.storage import Measured

TENANT = "ten_test"


class Stored:
    """How many queued jobs a tenant has, how often they are counted, and the time."""

    def __init__(self) -> None:
        self.jobs = 0
        self.counts = 0
        self.now = 1_000.0

    def count(self, _connection: Any, *, tenant_id: str, limit: int) -> int:
        assert tenant_id == TENANT
        self.counts += 1
        return min(self.jobs, limit)

    def fill(self, quota: QueuedJobsQuota) -> int:
        """Trigger jobs until one is refused. Returns how many there are then."""
        while True:
            if not quota.admit(None, TENANT, 1):  # type: ignore[arg-type]  # the count needs no connection here
                return self.jobs
            self.jobs += 1


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    found = Stored()
    monkeypatch.setattr(tenant_usage, "queued_jobs", found.count)
    return found


def _quota(stored: Stored, max_jobs: int | None) -> QueuedJobsQuota:
    return QueuedJobsQuota(max_jobs, clock=lambda: stored.now)


def test_a_limit_of_a_hundred_thousand_is_kept_with_few_counts(stored: Stored) -> None:
    assert stored.fill(_quota(stored, 100_000)) == 100_000
    assert stored.counts < 100


def test_several_processes_keep_the_limit_nearly(stored: Stored) -> None:
    quotas = [_quota(stored, 1_000) for _ in range(8)]
    refused = 0
    while refused < len(quotas):
        refused = 0
        for quota in quotas:
            admitted = quota.admit(None, TENANT, 1)  # type: ignore[arg-type]
            stored.jobs += admitted
            refused += not admitted
    assert 1_000 <= stored.jobs <= 1_000 + 7 * 64


def test_a_full_tenant_is_counted_once_a_second_and_gets_what_became_free(stored: Stored) -> None:
    quota = _quota(stored, 10)
    stored.fill(quota)
    counts = stored.counts
    for _ in range(50):
        assert stored.fill(quota) == 10
    assert stored.counts == counts
    stored.jobs = 4
    stored.now += 1.1
    assert stored.fill(quota) == 10


def test_a_handler_is_refused_by_a_count_of_that_moment(stored: Stored) -> None:
    quota = QueuedJobsQuota(10, clock=lambda: stored.now, recounts=True)
    assert stored.fill(quota) == 10
    stored.jobs = 0
    assert quota.admit(None, TENANT, 10) == 10  # type: ignore[arg-type]
    stored.jobs = 10
    assert quota.admit(None, TENANT, 1) == 0  # type: ignore[arg-type]


def test_a_bulk_is_refused_as_a_whole_and_one_that_fits_is_not(stored: Stored) -> None:
    quota = _quota(stored, 1_000)
    assert quota.admit(None, TENANT, 1_001) == 0  # type: ignore[arg-type]
    assert re.search(r"1,000 queued jobs, 1,000 more .* \(limit tenant_queued_jobs\)", str(quota.refusal(TENANT)))
    assert quota.admit(None, TENANT, 1_000) == 1_000  # type: ignore[arg-type]


def test_the_first_jobs_of_a_call_that_takes_some_fill_the_room_that_there_is(stored: Stored) -> None:
    quota = _quota(stored, 1_000)
    stored.jobs = 900
    assert quota.admit(None, TENANT, 150, in_part=True) == 100  # type: ignore[arg-type]
    stored.jobs = 1_000
    assert quota.admit(None, TENANT, 150, in_part=True) == 0  # type: ignore[arg-type]
    assert stored.counts == 1


def test_without_a_limit_nothing_is_counted(stored: Stored) -> None:
    assert _quota(stored, None).admit(None, TENANT, 10**9) == 10**9  # type: ignore[arg-type]
    assert stored.counts == 0


def test_bytes_that_were_accepted_count_until_they_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now, reads = 1_000.0, 0
    found: Measured | None = None

    def measured(_connection: Any, *, tenant_id: str) -> Measured | None:
        nonlocal reads
        assert tenant_id == TENANT
        reads += 1
        return found

    monkeypatch.setattr(storage, "measured", measured)
    quota = StoredBytesQuota(100, clock=lambda: now)

    def accepted(size: int) -> bool:
        return quota.admit(None, TENANT, [size]) == 1  # type: ignore[arg-type]  # the read needs no connection here

    assert [accepted(60), accepted(60), accepted(40), accepted(1)] == [True, False, True, False]
    assert reads == 1
    # It is read again after a while; without a newer measurement, what was accepted counts still.
    now += 11
    assert not accepted(1)
    found = Measured(stored_bytes=70, measured_at=datetime(2026, 1, 1, tzinfo=UTC))
    now += 11
    assert [accepted(31), accepted(30), accepted(1)] == [False, True, False]
    assert reads == 3


def test_without_a_limit_of_bytes_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "measured", None)
    assert StoredBytesQuota(None).admit(None, TENANT, [2**40]) == 1  # type: ignore[arg-type]  # it is not used


def test_the_first_jobs_of_a_call_that_takes_some_fill_the_bytes_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "measured", lambda _connection, **_: None)
    quota = StoredBytesQuota(100)
    assert quota.admit(None, TENANT, [60, 50, 10]) == 0  # type: ignore[arg-type]
    assert quota.admit(None, TENANT, [60, 50, 10], in_part=True) == 1  # type: ignore[arg-type]
    assert quota.admit(None, TENANT, [40]) == 1  # type: ignore[arg-type]
    assert "it has 100." in str(quota.refusal(TENANT))
