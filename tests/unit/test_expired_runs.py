"""The handler of a job that has expired since its claim is not entered; the process measures by its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ava.domain.jobs.job import Status
from ava.handler import Env
from tests.unit.handlers import JOB
from tests.unit.test_run import run_of


def _call(handler: Callable[..., Any], *, seconds: float) -> Any:
    """Returns the run of a job that may begin for so many seconds more, after its end."""
    run = run_of(handler)
    run.begins_before = time.monotonic() + seconds
    run.call(None, lambda: None)
    run.decide_end(draw=0.5)
    return run


@pytest.mark.parametrize("is_async", [False, True])
def test_the_handler_of_a_job_that_has_expired_since_its_claim_is_not_entered(is_async: bool) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> None:
        raise AssertionError("entered")

    async def handle_async(_input: dict[str, Any], _env: Env) -> None:
        raise AssertionError("entered")

    run = _call(handle_async if is_async else handle, seconds=-0.001)
    assert (run.is_expired, run.is_decided, run.end, run.raised) == (True, True, None, None)
    assert [line.msg for line in run.log.take()] == ["Handler not started: the job has expired"]


def test_a_job_whose_deadline_has_not_passed_begins() -> None:
    run = _call(lambda _input, _env: {"done": True}, seconds=60)
    assert not run.is_expired
    assert run.end.status is Status.COMPLETED


@pytest.mark.parametrize(
    ("expires", "first_run_no", "seconds"), [(None, 1, None), (5.0, 1, 5.0), (5.0, 2, None), (-5.0, 1, -5.0)]
)
def test_a_claim_brings_the_remaining_seconds_of_a_job_that_starts(
    expires: float | None, first_run_no: int, seconds: float | None
) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    job = replace(
        JOB,
        run_no=3 if first_run_no == 2 else 1,
        first_run_no=first_run_no,
        started_at=now,
        expires_at=None if expires is None else now + timedelta(seconds=expires),
    )
    assert job.start_seconds == seconds
