"""Concurrent triggers share a statement, and each client gets its own answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import redis
from werkzeug.test import TestResponse

from ava.services.creation import trigger_groups
from ava.settings import Settings
from harness.api import JOBS, Api, error_of
from harness.polling import wait_until


@contextmanager
def triggers_that_wait(api: Api) -> Iterator[None]:
    """While the block runs no job is stored; the triggers of the block wait."""
    with api.database.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE")
        yield


def trigger_together(api: Api, *requests: dict[str, Any]) -> list[TestResponse]:
    """Trigger one job, and while it is stored the jobs of `requests`, as one group. Returns the answers to those."""
    api.announce("wkr_first")
    groups = api.app.extensions["ava"].jobs._groups
    with ThreadPoolExecutor(len(requests) + 1) as threads, patch.object(trigger_groups, "_MAX_STATEMENTS", 1):
        with triggers_that_wait(api):
            first = threads.submit(api.trigger, "wkr_first")
            wait_until(lambda: groups._statements == 1)
            sent = [threads.submit(api.request, "POST", JOBS, **request) for request in requests]
            wait_until(lambda: len(groups._waiting) == len(sent))
        assert first.result(30)
        return [response.result(30) for response in sent]


def test_jobs_of_several_tenants_are_stored_by_one_statement_and_published(api: Api, api_settings: Settings) -> None:
    tenants = [f"ten_{number % 7}" for number in range(30)]
    responses = trigger_together(
        api,
        *(
            {
                "headers": {"x-tenant-id": tenant, "x-user-id": f"usr_{n}"},
                "json": {"worker_id": "wkr_open", "input": {"n": n}},
            }
            for n, tenant in enumerate(tenants)
        ),
    )
    records = [response.get_json()["data"] for response in responses]
    assert [record["tenant_id"] for record in records] == tenants
    assert [record["triggered_by"] for record in records] == [f"usr_{n}" for n in range(30)]
    assert [record["input"] for record in records] == [{"n": n} for n in range(30)]
    # One transaction of the first job, and one of all the others.
    assert api.execute("SELECT count(DISTINCT xmin::text), count(*) FROM jobs") == [(2, 31)]
    with redis.Redis.from_url(api_settings.broker_url) as broker:
        assert sum(broker.llen(key) for key in broker.keys("default*")) == 31


def test_each_of_a_group_gets_its_own_answer(api: Api) -> None:
    api.announce("wkr_old")
    api.set_status("wkr_old", "deprecated")
    good, unknown, theirs, old, other, surrogate = trigger_together(
        api,
        {"json": {"worker_id": "wkr_open"}},
        {"json": {"worker_id": "wkr_unknown"}},
        {"json": {"worker_id": "wkr_theirs"}},
        {"json": {"worker_id": "wkr_old"}},
        {"json": {"worker_id": "wkr_theirs"}, "headers": {"x-tenant-id": "ten_other"}},
        {"json": {"worker_id": "wkr_open", "input": {"emoji": "\U0001f600"}}},
    )
    assert good.status_code == other.status_code == surrogate.status_code == 201
    assert other.get_json()["data"]["tenant_id"] == "ten_other"
    error_of(unknown, 404, "resource_not_found")
    error_of(theirs, 404, "resource_not_found")
    error_of(old, 409, "resource_conflict")
    assert api.execute("SELECT count(*) FROM jobs") == [(4,)]


def test_a_worker_whose_schema_changes_meanwhile_refuses_what_no_longer_matches(api: Api) -> None:
    """A group compares the version of each input's schema with the worker's, as a statement of its own does."""
    announce = "UPDATE workers SET input_schema = %s::json, input_schema_version = %s WHERE id = 'wkr_open'"
    api.execute(announce, "{}", "v1")
    api.trigger()
    api.execute(announce, '{"required": ["a"]}', "v2")
    bad, good = trigger_together(
        api, {"json": {"worker_id": "wkr_open", "input": {}}}, {"json": {"worker_id": "wkr_open", "input": {"a": 1}}}
    )
    error_of(bad, 422, "validation_error")
    assert good.status_code == 201, good.text
