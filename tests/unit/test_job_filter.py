"""Filters of jobs as JSON, in which operations keep them."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from ava.domain.jobs.job import Status, Trigger
from ava.domain.jobs.job_filter import JobFilter

FILTERS = [
    JobFilter(),
    JobFilter(worker_id="wkr_a", status=Status.FAILED),
    JobFilter(priority=2, triggered_by="usr_a", error="Timeout", id="job_01kq", tags=(("team", "a"), ("b", "c"))),
    JobFilter(
        trigger=Trigger.EVENT,
        created_after=datetime.fromisoformat("2026-01-01T00:00:00.123456+02:00"),
        created_before=datetime.fromisoformat("2026-02-01T00:00:00+00:00"),
    ),
]


@pytest.mark.parametrize("job_filter", FILTERS)
def test_a_filter_comes_back_from_its_json(job_filter: JobFilter) -> None:
    assert JobFilter.from_record(json.loads(json.dumps(job_filter.as_record()))) == job_filter


def test_a_filter_names_only_what_it_restricts() -> None:
    assert JobFilter(status=Status.FAILED).as_record() == {"status": "failed"}
