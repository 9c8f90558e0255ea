"""The choice of the statement that inserts a new job: what few jobs have decides."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.domain.jobs.job import JobSpec
from ava.domain.jobs.new_job import After, NewJob, TreePosition
from ava.domain.jobs.trigger_options import Dedupe
from ava.domain.jobs.waits import WaitCondition
from ava.store.jobs.transitions import make

_PLAIN = NewJob(tenant_id="ten_a", user_id="usr_a", spec=JobSpec(worker_id="wkr_a"))
_UUID = "0193b3a1-1234-7abc-8def-0123456789ab"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)

#: What few jobs have, by the field that holds it.
_RARE: dict[str, Any] = {
    "uuid": _UUID,
    "is_due": True,
    "is_held": True,
    "may_ask": True,
    "origin_text": "usr_b",
    "after": After(uuids=(_UUID,), condition=WaitCondition.ENDED),
    "position": TreePosition(tree_uuid=_UUID),
}
_RARE_OF_SPEC: dict[str, Any] = {
    "scheduled_at": _NOW,
    "retry_of": "job_01jv9qhxrt7ansv9stqetvk97r",
    "tags_json": '{"a":"b"}',
    "expires_in_seconds": 5,
    "start_before": _NOW,
    "max_retries": 0,
    "dedupe": Dedupe(key="k"),
    "deadline_seconds": 5,
    "approval_json": '{"title":"Go on?"}',
    "input_json": '"' + "x" * 2**15 + '"',
}
#: What every job has a column for, and what only becomes one of the others.
_COMMON = {"tenant_id", "user_id", "spec", "schema_version", "may_publish", "traceparent"}
_COMMON_OF_SPEC = {"worker_id", "trigger", "priority", "debounce", "entry", "idempotency_key", "behind_retried"}


def _columns(new: NewJob) -> set[str]:
    return {name for record in json.loads(make._more([new])) for name in record}


def test_each_field_of_a_new_job_is_known_here() -> None:
    assert {field.name for field in fields(NewJob)} == _RARE.keys() | _COMMON
    assert {field.name for field in fields(JobSpec)} == _RARE_OF_SPEC.keys() | _COMMON_OF_SPEC


def test_a_job_without_any_of_it_is_plain_and_has_no_further_column() -> None:
    assert make._is_plain(_PLAIN)
    assert _columns(_PLAIN) == set()


@pytest.mark.parametrize("name", [*_RARE, *_RARE_OF_SPEC])
def test_a_job_with_one_of_it_is_not_plain(name: str) -> None:
    if name in _RARE:
        new = replace(_PLAIN, **{name: _RARE[name]})
    else:
        new = replace(_PLAIN, spec=replace(_PLAIN.spec, **{name: _RARE_OF_SPEC[name]}))
    # A firing without a date has no column of its own.
    assert _columns(new) or new.is_due
    assert not make._is_plain(new)
