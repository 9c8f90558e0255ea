"""A process that was frozen asks whether its run still holds its job, and does not go on before there is an answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ava import settings
from ava.errors import DatabaseUnavailable
from ava.handler import Env
from ava.node.celery_internals.pool_child import NoTakeAhead
from ava.node.child.child import Child
from ava.node.outcome import Stop
from ava.node.run_board import RunBoard
from ava.node.runs.run import Run
from ava.store.engine import database
from ava.store.engine.database import Database
from tests.unit.test_run import block_sigterm, run_of


class _Answers:
    """The answers of a database: True or False, None if it cannot be asked."""

    def __init__(self, *answers: bool | None) -> None:
        self._answers = list(answers)
        self.asked = threading.Event()
        self.database = SimpleNamespace(forget_silence=lambda: None)

    def owns_job(self, _run: Run) -> bool:
        response = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.asked.set()
        if response is None:
            raise DatabaseUnavailable
        return response


@pytest.fixture
def child() -> Iterator[Child]:
    environ = {"DATABASE_URL": "postgresql://h/d", "BROKER_URL": "redis://h/0"}
    child = Child(
        settings.load(environ), "01890000-0000-7000-8000-000000000001", NoTakeAhead(), RunBoard(1).of_process(0)
    )
    before = [signal.signal(signal.SIGCONT, child._on_sigcont), signal.signal(signal.SIGTERM, child._on_sigterm)]
    yield child
    signal.signal(signal.SIGCONT, before[0])
    signal.signal(signal.SIGTERM, before[1])
    child._companion.mailbox.close()


def _thaw_during_handler(child: Child, answers: _Answers) -> tuple[Run, list[str]]:
    """Call a handler that is thawed between two effects. Returns its run and its effects."""
    effects: list[str] = []

    def handle(_input: dict[str, Any], _env: Env) -> None:
        effects.append("before")
        os.kill(os.getpid(), signal.SIGCONT)
        effects.append("after")

    run = run_of(handle)
    child.steps.run, child.steps.writer = run, answers  # type: ignore[assignment]
    run.call(None, block_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    child.steps.run = None
    return run, effects


def test_a_thawed_run_that_lost_its_job_does_nothing_more_though_the_first_questions_fail(child: Child) -> None:
    run, effects = _thaw_during_handler(child, _Answers(None, None, False))
    assert (run.stopped_for, effects) == (Stop.LOST, ["before"])


def test_a_thawed_run_that_holds_its_job_goes_on_once_it_is_answered(child: Child) -> None:
    run, effects = _thaw_during_handler(child, _Answers(None, None, True))
    assert (run.stopped_for, effects) == (None, ["before", "after"])


@pytest.mark.parametrize(
    ("answers", "effects"), [((None, False), []), ((None, True), ["ran"])], ids=["it is lost", "it is held"]
)
def test_a_handler_that_begins_long_after_its_claim_asks_first(
    child: Child, answers: tuple[bool | None, ...], effects: list[str]
) -> None:
    ran: list[str] = []
    run = run_of(lambda _input, _env: ran.append("ran"))
    run.claim_sent_ns -= 2_000_000_000
    child._ownership.ask_if_needed(run, _Answers(*answers).owns_job)
    run.call(None, block_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert ran == effects


def test_a_handler_that_begins_soon_after_its_claim_asks_nothing(child: Child) -> None:
    answers = _Answers(False)
    child._ownership.ask_if_needed(run_of(lambda _input, _env: None), answers.owns_job)
    assert not answers.asked.is_set()


def test_a_thawed_run_that_gets_no_answer_can_be_stopped(child: Child) -> None:
    answers = _Answers(None)

    def cancel() -> None:
        answers.asked.wait(20)
        assert child.steps.run is not None
        child.steps.run.stop(Stop.CANCEL)

    thread = threading.Thread(target=cancel)
    thread.start()
    run, effects = _thaw_during_handler(child, answers)
    thread.join()
    assert (run.stopped_for, effects) == (Stop.CANCEL, ["before"])


def test_an_answer_from_before_a_second_freeze_does_not_count(child: Child) -> None:
    class FrozenAgain(_Answers):
        def owns_job(self, run: Run) -> bool:
            response = super().owns_job(run)
            if response:
                os.kill(os.getpid(), signal.SIGCONT)
            return response

    run, effects = _thaw_during_handler(child, FrozenAgain(True, False))
    assert (run.stopped_for, effects) == (Stop.LOST, ["before"])


def test_the_time_of_a_freeze_is_not_taken_for_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(database.time, "monotonic", lambda: now)
    silent, thawed = (Database("postgresql://nowhere.invalid/x", name="test") for _ in range(2))
    began = silent._begin()
    now += 40
    thawed.forget_silence()
    for each in (silent, thawed):
        each._record_silence(began)
    with pytest.raises(DatabaseUnavailable):
        silent._begin()
    thawed._begin()
    silent.forget_silence()
    silent._begin()
