"""What a handler returned or raised decides what is written."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import LogLevel, Status
from ava.domain.jobs.run_outcome import RunOutcome
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry, Wait, WaitCondition
from ava.domain.secrets.masking import SecretMask
from ava.errors import OutputError
from ava.handler import Interruption, JobCancelled, JobInterrupted, JobTimeout, RateLimited, RetryLater
from ava.handler.errors import Suspended
from ava.node.outcome import Retirement, Stop, decide, encode_output, explain, find_place, format_traceback
from tests.unit.handlers import JOB


def decided(*, attempt: int = 1, max_attempts: int = 1, **given: Any) -> RunOutcome | None:
    usual = {"stop": None, "raised": None, "output": None, "exceeded": "exceeded 2 s", "elapsed_ms": 7, "draw": 0.5}
    return decide(replace(JOB, attempt=attempt, max_attempts=max_attempts), **{**usual, **given})


def ended(**given: Any) -> RunOutcome:
    run_end = decided(**given)
    assert run_end is not None
    return run_end


@pytest.mark.parametrize("raised", [None, ValueError("no"), JobCancelled(), asyncio.CancelledError()])
def test_a_cancelled_job_is_cancelled_even_if_its_handler_raises(raised: BaseException | None) -> None:
    run_end = ended(stop=Stop.CANCEL, raised=raised, output={"kept": 1})
    assert (run_end.status, run_end.error) == (Status.CANCELLED, None)
    assert run_end.output_json == (None if raised else '{"kept":1}')


def test_a_cancelled_job_is_cancelled_even_if_its_output_is_not_json() -> None:
    assert ended(stop=Stop.CANCEL, output=b"bytes").status is Status.CANCELLED


@pytest.mark.parametrize("raised", [None, JobTimeout("x"), ValueError("while cleaning up")])
def test_a_timeout_is_a_failure_even_if_the_handler_returned(raised: BaseException | None) -> None:
    run_end = ended(stop=Stop.TIMEOUT, raised=raised, output=1)
    assert (run_end.status, run_end.error) == (Status.FAILED, "Timeout: exceeded 2 s")


def test_a_failure_has_the_id_of_its_error_and_no_other_end_has_one() -> None:
    def fail(text: str) -> None:
        json.loads(text)

    ids = set()
    for text in ("{", "[1 2]"):
        with pytest.raises(ValueError, match="Expecting") as caught:
            fail(text)
        # The innermost frame of the handler: those of Python's own modules do not count.
        place = f"{__name__}:{fail.__qualname__}:{fail.__code__.co_firstlineno + 1}"
        assert find_place(caught.value) == place
        ids.add(ended(raised=caught.value).error_id)
    assert len(ids - {None}) == 1
    assert find_place(ValueError()) == ""
    assert ended(output=1).error_id is None
    assert ended(raised=ValueError(), attempt=1, max_attempts=2).error_id is None
    assert ended(stop=Stop.TIMEOUT).error_id is not None


@pytest.mark.parametrize("stop", [Stop.SHUTDOWN, Stop.LOST])
def test_an_interrupted_run_has_no_end_of_its_own(stop: Stop) -> None:
    assert decided(stop=stop, raised=JobInterrupted()) is None


def test_an_attempt_that_is_not_the_last_is_repeated_after_a_back_off() -> None:
    waits = [ended(raised=ValueError(), attempt=n, max_attempts=6).delay_seconds for n in (1, 2, 3)]
    assert waits == [1.0, 2.0, 4.0]
    assert ended(raised=ValueError("x"), attempt=6, max_attempts=6).error == "ValueError: x"


def test_a_handler_that_retries_later_gives_its_attempt_back() -> None:
    run_end = ended(raised=RetryLater(30, "the other side is closed"), attempt=3, max_attempts=3)
    assert (run_end.status, run_end.delay_seconds, run_end.reason) == (Status.QUEUED, 30, "the other side is closed")
    assert run_end.closing == (LogLevel.INFO, "Handler retries later, in 30 s: the other side is closed")
    assert not run_end.is_rate_limited
    assert ended(raised=RateLimited(0.5)).is_rate_limited
    # A cancel and a time-out come first.
    assert ended(stop=Stop.CANCEL, raised=RetryLater(1)).status is Status.CANCELLED
    assert ended(stop=Stop.TIMEOUT, raised=RetryLater(1)).status is Status.FAILED


def test_the_reason_of_a_deferral_has_no_secret() -> None:
    run_end = ended(raised=RetryLater(30, "not with the token s3cr3t"), mask=SecretMask(["s3cr3t"]))
    assert run_end.reason == "not with the token ••••••"


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e9, True, "1", None])
def test_a_handler_puts_its_job_off_by_a_sane_time_only(seconds: Any) -> None:
    with pytest.raises(ValueError, match="from 0 to"):
        RetryLater(seconds)


def test_a_job_cancelled_without_a_cancel_is_a_failure() -> None:
    assert ended(raised=JobCancelled()).status is Status.FAILED


def test_no_interruption_is_an_exception() -> None:
    for stop in Stop:
        error = stop.exception("exceeded 1.5 s")
        assert isinstance(error, Interruption)
        assert not isinstance(error, Exception)


def test_an_error_is_one_bounded_line() -> None:
    assert explain(ValueError("one\n  two\0 \ud800")) == "ValueError: one two\\x00 \\ud800"
    assert explain(ValueError()) == "ValueError: (no message)"
    assert explain(SystemExit(3)) == "SystemExit: the handler called sys.exit(3)"
    assert len(explain(ValueError("x" * 10_000_000))) < 1_100


def test_a_traceback_begins_at_the_handlers_own_line() -> None:
    try:
        raise KeyError("k")
    except KeyError as error:
        shown = format_traceback(error)
    assert "test_outcome.py" in shown
    assert "ava/node" not in shown


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "output.a[1].b is of type set"),
        ([float("inf")], "output[0] is inf"),
        ({None: 1, (1,): 2}, "output has a key of type tuple"),
        ("x" * 1_100_000, "limit of 1048576"),
    ],
)
def test_output_that_json_cannot_represent_is_named_by_its_path(output: Any, fault: str) -> None:
    with pytest.raises(OutputError) as caught:
        encode_output(output)
    assert fault in str(caught.value)


def test_output_that_contains_itself_is_refused() -> None:
    output: list[Any] = []
    output.append({"again": output})
    with pytest.raises(OutputError, match="nested too deep"):
        encode_output(output)


def _nested(levels: int) -> Any:
    output: list[Any] = []
    for _ in range(levels - 1):
        output = [output]
    return output


@pytest.mark.parametrize("output", [_nested(500), {"rows": [{"a": []}] * 2_000}, "[{" * 2_000])
def test_output_that_nests_no_deeper_than_a_body_is_kept(output: Any) -> None:
    assert json.loads(encode_output(output)) == output


@pytest.mark.parametrize("output", [_nested(501), {"a": (1, {"b": _nested(499)})}, _nested(3_000)])
def test_output_that_nests_deeper_than_a_body_is_refused(output: Any) -> None:
    with pytest.raises(OutputError, match="nested too deep"):
        encode_output(output)


def test_a_retired_process_says_how_its_run_ended() -> None:
    assert Retirement.after(ended(output=1)) is Retirement.COMPLETED
    assert Retirement.after(ended(raised=ValueError("no"))) is Retirement.FAILED
    assert Retirement.after(ended(raised=ValueError("no"), max_attempts=2)) is Retirement.FAILED
    assert Retirement.after(ended(stop=Stop.CANCEL)) is Retirement.STOPPED
    assert Retirement.after(decided(stop=Stop.SHUTDOWN)) is Retirement.STOPPED


class _Exiting:
    """Code of a handler that exits wherever it is read."""

    def __str__(self) -> str:
        raise SystemExit(3)

    def __iter__(self) -> Any:
        raise SystemExit(3)


class _LazyMapping(dict[str, Any]):
    def items(self) -> Any:
        raise KeyError("gone")


class _ExitingMapping(dict[str, Any]):
    def items(self) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("output", "kind"), [(_LazyMapping(a=1), "KeyError"), ({"in": [_ExitingMapping(a=1)]}, "SystemExit")]
)
def test_an_output_whose_own_code_raises_fails_the_job_and_names_the_error(output: Any, kind: str) -> None:
    run_end = ended(output=output)
    expected = f"OutputError: the output cannot be written as JSON: reading it raised {kind}"
    assert (run_end.status, run_end.error) == (Status.FAILED, expected)


def test_an_exception_whose_own_code_raises_fails_the_job() -> None:
    class Strange(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    class Text(str):
        __slots__ = ()

        def __format__(self, spec: str) -> str:
            sys.exit(3)

    class Formatted(Exception):
        def __str__(self) -> str:
            return Text("a reason")

    assert ended(raised=Strange()).error == "Strange: (its message cannot be shown)"
    assert ended(raised=Formatted()).error == "Formatted: a reason"
    assert ended(raised=ValueError(_Exiting())).error == "ValueError: (its message cannot be shown)"
    assert "Strange: <exception str() failed>" in format_traceback(Strange())


def test_an_integer_that_few_programs_read_is_refused_by_its_path() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        run_end = ended(output={"rows": [1, 10**5_000]})
        assert ended(output={"text": "1" * 5_000}).status is Status.COMPLETED
    finally:
        sys.set_int_max_str_digits(before)
    fault = "output.rows[1] is an integer of more than 4300 digits, which few programs read"
    assert run_end.error == f"OutputError: {fault}"


def test_the_record_of_a_wait_has_no_secret_and_the_journal_compares_events_with_it() -> None:
    event = AwaitedEvent.of("order.paid", {"data": {"v": ["sesame-of-the-worker"]}})
    entry = NewEntry(kind=JournalKind.EVENT, name="order.paid", state=EntryState.WAITS, value_json=event.json)
    waits = Wait(condition=WaitCondition.EVENT, event=event.shown, event_names=("order.paid",), entries=(entry,))
    for mask, shown in ((None, "sesame-of-the-worker"), (SecretMask(["sesame-of-the-worker"]), "••••••")):
        found = ended(raised=Suspended(), wait=waits, mask=mask).wait
        assert found is not None
        assert found.event == {"type": "order.paid", "match": {"data": {"v": [shown]}}}
        assert found.entries == (entry,)
