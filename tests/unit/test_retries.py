"""Retries: the delays of a worker, which errors are repeated, and what a wrong declaration says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

import ava
from ava.domain.jobs.job import Status
from ava.domain.jobs.retry import Retry
from ava.domain.jobs.run_outcome import RunOutcome
from ava.errors import HandlerError
from ava.handler import GiveUp, JobTimeout, retry_rules
from ava.handler.retry_rules import RetryRules
from ava.node.outcome import Stop, decide
from tests.unit.handlers import JOB


def _seconds(rules: Retry, attempts: int) -> list[float]:
    return [rules.unspread_seconds(attempt) for attempt in range(1, attempts + 1)]


def test_the_delays_of_a_worker() -> None:
    assert _seconds(Retry(), 4) == [1, 2, 4, 8]
    assert _seconds(Retry(first_seconds=5, factor=3, max_delay_seconds=20), 4) == [5, 15, 20, 20]
    assert _seconds(Retry(first_seconds=1000), 26)[-1] == 3600
    # The last one of a list repeats.
    assert _seconds(Retry(delays_seconds=[0, 7.5]), 4) == [0, 7.5, 7.5, 7.5]


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 5.0), (0.5, 10.0), (1.0, 15.0)])
def test_the_jitter_is_a_part_of_the_delay_in_both_directions(draw: float, seconds: float) -> None:
    assert Retry(first_seconds=10, jitter=0.5).delay_seconds(attempt=1, draw=draw) == seconds
    assert Retry(first_seconds=10, jitter=0).delay_seconds(attempt=1, draw=draw) == 10


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"max": 26}, "max"),
        ({"max": -1}, "max"),
        ({"max": True}, "max"),
        ({"delays_seconds": []}, "delays_seconds"),
        ({"delays_seconds": [1] * 26}, "delays_seconds"),
        ({"delays_seconds": [-1]}, "delays_seconds"),
        ({"delays_seconds": [1e9]}, "delays_seconds"),
        ({"delays_seconds": ["1"]}, "delays_seconds"),
        ({"first_seconds": math.nan}, "first_seconds"),
        ({"first_seconds": 1e9}, "first_seconds"),
        ({"factor": 0.5}, "factor"),
        ({"max_delay_seconds": math.inf}, "max_delay_seconds"),
        ({"jitter": 1.1}, "jitter"),
    ],
)
def test_a_wrong_policy_names_its_value(given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Retry(**given)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"retry_on": "ValueError"}, "retry_on"),
        ({"retry_on": [ValueError, 1]}, "retry_on"),
        ({"give_up_on": int}, "give_up_on"),
        ({"retry": {"max": 1}}, "retry"),
        ({"retry": Retry(max=1), "max_retries": 1}, "max_retries"),
    ],
)
def test_a_wrong_declaration_is_refused_by_its_name(given: dict[str, Any], wrong: str) -> None:
    usual = {"max_retries": None, "retry": None, "retry_on": None, "give_up_on": None}
    with pytest.raises(HandlerError, match=wrong):
        retry_rules.read("x", **{**usual, **given})
    with pytest.raises(HandlerError, match=wrong):
        ava.worker("wrong_retries", **given)(lambda input: input)


def _end(error: BaseException | None, *, stop: Stop | None = None, attempt: int = 1, **rules: Any) -> RunOutcome:
    job = replace(JOB, attempt=attempt, max_attempts=4)
    end = decide(
        job, stop=stop, raised=error, output=object(), exceeded="exceeded 2 s", elapsed_ms=7, draw=0.5,
        retries=RetryRules(**rules),
    )  # fmt: skip
    assert end is not None
    return end


def test_errors_are_repeated_by_their_classes_and_giving_up_wins() -> None:
    wrong = json.JSONDecodeError("no", "", 0)
    assert _end(wrong, delays=Retry(delays_seconds=[30, 90]), attempt=2).delay_seconds == 90
    assert _end(wrong, retry_on=(ValueError,)).status is Status.QUEUED
    assert _end(wrong, retry_on=(OSError,)).status is Status.FAILED
    assert _end(wrong, retry_on=(ValueError,), give_up_on=(json.JSONDecodeError,)).status is Status.FAILED
    # What the handler returned was no JSON.
    assert _end(None, retry_on=(OSError,)).status is Status.FAILED
    assert _end(None).status is Status.QUEUED


def test_a_handler_gives_up_at_once_with_its_reason() -> None:
    end = _end(GiveUp("no such customer"))
    assert (end.status, end.error) == (Status.FAILED, "GiveUp: no such customer")


def test_a_time_out_is_an_error_like_others() -> None:
    assert _end(JobTimeout(), stop=Stop.TIMEOUT).status is Status.QUEUED
    assert _end(ValueError(), stop=Stop.TIMEOUT, give_up_on=(JobTimeout,)).status is Status.FAILED
    assert _end(ValueError(), stop=Stop.TIMEOUT, retry_on=(JobTimeout,)).status is Status.QUEUED
