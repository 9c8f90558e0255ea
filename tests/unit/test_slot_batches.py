"""What the threads of a slot process write for a batch of runs, if a statement fails or a run needs one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ava.domain.jobs.job import Job, JobKey, RunKey, Status
from ava.errors import DatabaseUnavailable
from ava.handler.errors import RateLimited
from ava.handler.registry import worker
from ava.node.outcome import Stop
from ava.node.slots import slot_claims
from ava.node.slots.slot_claims import SlotClaims, SlotEnds, WantedRun
from ava.node.slots.slot_run import SlotRun
from ava.settings import load
from ava.store.jobs.transitions.ended_runs import EndedRun
from ava.telemetry.span import Span
from tests.unit.handlers import JOB
from tests.unit.monitored_node import ENVIRON
from tests.unit.test_run import made_run

pytestmark = pytest.mark.usefixtures("restored_registry")

_JOBS = [f"job_{letter * 26}" for letter in "abcd"]
_KEYS = [RunKey(JOB.tenant_id, job_id, 1) for job_id in _JOBS]


class _Writer:
    """A writer that records its statements. It refuses the jobs in `broken`."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.sent: list[tuple[str, Sequence[str]]] = []
        self.database = SimpleNamespace(connect=lambda: self)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def _send(self, what: str, jobs: Sequence[str]) -> None:
        self.sent.append((what, jobs))
        if set(jobs) & set(self.broken):
            raise DatabaseUnavailable

    def end_together(self, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
        self._send("end", [each.key.id for each in ended])
        return {each.key: each.values.status for each in ended}

    def end(self, ended: EndedRun) -> tuple[Status | None, None, bool]:
        self._send("end alone", [ended.key.id])
        return ended.values.status, None, False

    def end_undecided(self, run: SlotRun) -> None:
        self._send("requeue", [run.job.id])

    def claim_together(self, keys: Sequence[RunKey], _worker_id: str, _claim_id: str) -> list[Job]:
        self._send("claim", [key.job_id for key in keys])
        return [_job(key) for key in keys if key.job_id != _JOBS[1]]

    def claim_or_park(self, key: RunKey, _worker_id: str, _claim_id: str) -> Job | None:
        self._send("claim alone", [key.job_id])
        return _job(key)


class _Span(Span):
    has_ended = False

    def end(self) -> None:
        self.has_ended = True


def _job(key: RunKey) -> Job:
    return replace(JOB, id=key.job_id, worker_id="wkr_ddd_wait")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def _wait(input: dict[str, Any]) -> None:
    """A handler that waits."""


def _ended(job_id: str, *, raised: BaseException | None = None, stop: Stop | None = None) -> SlotRun:
    run = made_run(SlotRun, _wait, id=job_id)
    run.raised, run.stopped_for = raised, stop
    run.decide_end(draw=0.5)
    return run


def test_ends_that_fail_together_are_written_one_by_one_and_only_the_broken_one_is_left(
    loop: asyncio.AbstractEventLoop,
) -> None:
    writer = _Writer(_JOBS[1])
    runs = [_ended(job_id) for job_id in _JOBS[:3]]
    for run in runs:
        run.span = _Span()
    SlotEnds(writer, loop).process(runs)  # type: ignore[arg-type]
    assert writer.sent == [("end", _JOBS[:3]), *(("end", [job_id]) for job_id in _JOBS[:3])]
    assert [run.is_end_written for run in runs] == [True, False, True]
    assert all(run.is_ending for run in runs)
    assert [run.span.has_ended for run in runs] == [True] * 3, "a trace has also the run whose end is not written"


def test_undecided_ends_and_deferred_rates_have_statements_of_their_own(loop: asyncio.AbstractEventLoop) -> None:
    writer = _Writer()
    runs = [
        _ended(_JOBS[0]),
        _ended(_JOBS[1], stop=Stop.SHUTDOWN),
        _ended(_JOBS[2], raised=RateLimited(5)),
        _ended(_JOBS[3], raised=ValueError("no")),
    ]
    SlotEnds(writer, loop).process(runs)  # type: ignore[arg-type]
    assert writer.sent == [
        ("requeue", [_JOBS[1]]), ("end alone", [_JOBS[2]]), ("end", [_JOBS[0], _JOBS[3]]),
    ]  # fmt: skip
    assert all(run.is_end_written for run in runs)
    assert runs[3].raised is None, "its frames are freed"


@pytest.fixture
def recalled(monkeypatch: pytest.MonkeyPatch) -> list[RunKey]:
    recalled: list[RunKey] = []
    monkeypatch.setattr(slot_claims.recall, "recall_runs", lambda _, keys: recalled.extend(keys))
    return recalled


def _claim(writer: _Writer, loop: asyncio.AbstractEventLoop) -> list[str | None]:
    """Claim three runs, and recall another one. Return the job of each claimed run."""
    worker("ddd_wait", concurrent=True)(_wait)
    claims = SlotClaims(load(ENVIRON), writer, loop)  # type: ignore[arg-type]
    wanted = [WantedRun(key, "wkr_ddd_wait", is_recalled=key == _KEYS[3]) for key in reversed(_KEYS)]
    recalled, *made = claims.process(wanted)
    assert recalled is None
    return [None if run is None else run.job.id for run in made]


def test_a_run_that_is_not_claimed_with_the_others_is_claimed_alone(
    loop: asyncio.AbstractEventLoop, recalled: list[RunKey]
) -> None:
    writer = _Writer()
    assert _claim(writer, loop) == _JOBS[2::-1]
    assert writer.sent == [("claim", _JOBS[2::-1]), ("claim alone", [_JOBS[1]])]
    assert recalled == [_KEYS[3]]


def test_a_claim_that_fails_costs_no_run_that_was_claimed_before_it_and_no_recall(
    loop: asyncio.AbstractEventLoop, recalled: list[RunKey]
) -> None:
    writer = _Writer()
    writer.claim_or_park = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
    assert _claim(writer, loop) == [_JOBS[2], None, None]
    assert recalled == [_KEYS[3]]
