"""The sleep handler."""

import signal
import time
from typing import Any

import pytest

from ava import JobCancelled
from tests.unit.handlers import Run
from workers.sleep import sleep


def test_it_sleeps_in_steps_that_show_as_progress() -> None:
    run = Run()
    output = sleep({"seconds": 0.2, "steps": 4}, run.env)
    assert output["steps"] == 4
    assert 0.2 <= output["slept_seconds"] < 20
    assert run.progress == [(n / 4, f"step {n} of 4") for n in (1, 2, 3, 4)]
    assert run.lines == ["Sleeping for 0.2 s in 4 steps"]


def test_no_time_at_all_is_a_sleep_too() -> None:
    assert sleep({"seconds": 0}, Run().env)["slept_seconds"] < 20


def test_a_cancel_ends_the_sleep_at_once() -> None:
    def cancel(*_: object) -> None:
        raise JobCancelled

    before = signal.signal(signal.SIGALRM, cancel)
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(JobCancelled):
            sleep({"seconds": 60, "steps": 1}, Run().env)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "input.seconds must be a number from 0 to 3500"),
        ({"seconds": None}, "input.seconds must be a number from 0 to 3500, not null"),
        ({"seconds": "5"}, "input.seconds must be a number from 0 to 3500, not a string"),
        ({"seconds": True}, "input.seconds must be a number from 0 to 3500, not true or false"),
        ({"seconds": [1]}, "input.seconds must be a number from 0 to 3500, not a list"),
        ({"seconds": float("nan")}, "input.seconds must be a number from 0 to 3500, not NaN or infinity"),
        ({"seconds": 10**400}, "input.seconds must be a number from 0 to 3500"),
        ({"seconds": -1}, "input.seconds must be a number from 0 to 3500"),
        ({"seconds": 0, "steps": 1.5}, "input.steps must be a whole number from 1 to 1000"),
        ({"seconds": 0, "steps": {}}, "input.steps must be a whole number from 1 to 1000, not an object"),
        ({"\n\x00": 1}, r"input.\n\x00 is unknown; this worker takes seconds, steps"),
    ],
)
def test_a_wrong_input_fails_with_a_sentence_that_helps(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        sleep(given, Run().env)
    assert str(error.value) == sentence
