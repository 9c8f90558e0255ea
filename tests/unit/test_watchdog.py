"""When a node ends itself: its event loop stands still, the database is away for too long, or it is deaf."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ava.broker.refused_queues import Refusals
from ava.errors import DatabaseUnavailable
from ava.node.intake import Intake
from ava.node.parent import loop_liveness, watchdog
from ava.node.parent.watchdog import Watchdog
from ava.settings import load

ENVIRON = {
    "DATABASE_URL": "postgresql://ava@127.0.0.1:1/none",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "AVA_DEAF_SECONDS": "60",
}
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = FIRST + timedelta(seconds=30)


class World:
    """What a watchdog sees of its node, of the clock and of the database."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.idle_seconds = 3600.0
        self.unreachable_seconds = 0.0
        self.intake = Intake()
        #: The messages that wait for long, by their jobs.
        self.messages: dict[str, datetime] = {}
        self.error: Exception | None = None
        self.calls: list[str] = []
        #: The runs of the node that have not ended.
        self.running = 0

    @contextmanager
    def connect(self) -> Iterator[None]:
        if self.error is not None:
            raise self.error
        yield

    def has_runs(self, _connection: None) -> bool:
        return self.running > 0

    def close(self, failure: str | None = None) -> None:
        self.calls.append("close" if failure is None else f"close: {failure}")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(watchdog, "Database", SimpleNamespace(of=lambda *_, **__: world))
    monkeypatch.setattr(watchdog, "published", SimpleNamespace(oldest_messages=lambda *_, **__: dict(world.messages)))
    monkeypatch.setattr(loop_liveness, "time", SimpleNamespace(monotonic=lambda: world.seconds))
    # Set by the patch as well, so that the real ones come back after the test.
    for name in ("_turned_at", "_tried_at"):
        monkeypatch.setattr(loop_liveness, name, world.seconds)
    return world


@pytest.fixture
def dog(world: World) -> Watchdog:
    monitor: Any = world
    return Watchdog(load(ENVIRON), monitor, ["default"], Refusals())


def test_a_healthy_node_goes_on(dog: Watchdog) -> None:
    assert dog.find_reason() is None


@pytest.mark.parametrize(("seconds", "is_found"), [(60, False), (60.5, True)])
def test_an_event_loop_that_stands_still_is_a_reason(
    world: World, dog: Watchdog, seconds: float, is_found: bool
) -> None:
    world.seconds += seconds
    assert (dog.find_reason() == "its event loop is blocked") is is_found


def test_a_node_that_tries_to_reach_its_broker_goes_on(world: World, dog: Watchdog) -> None:
    world.seconds += 59
    loop_liveness.record_attempt()
    world.seconds += 59
    assert dog.find_reason() is None


@pytest.mark.parametrize(("seconds", "is_found"), [(360, False), (361, True)])
def test_six_minutes_without_the_database_are_a_reason(
    world: World, dog: Watchdog, seconds: float, is_found: bool
) -> None:
    world.unreachable_seconds = seconds
    assert (dog.find_reason() == "it has not reached the database for too long") is is_found


def test_a_job_that_is_published_twice_and_not_received_is_a_reason(world: World, dog: Watchdog) -> None:
    world.messages = {"job_a": FIRST}
    assert dog.find_reason() is None
    assert dog.find_reason() is None, "the same message, seen again"
    world.messages = {"job_a": SECOND}
    assert dog.find_reason() == "it receives no messages, although some are waiting"


def test_a_drained_node_is_not_deaf(world: World, dog: Watchdog) -> None:
    world.intake.is_open = False
    for message in (FIRST, SECOND):
        world.messages = {"job_a": message}
        assert dog.find_reason() is None


def test_messages_of_two_jobs_are_no_reason(world: World, dog: Watchdog) -> None:
    world.messages = {"job_a": FIRST}
    assert dog.find_reason() is None
    world.messages = {"job_b": SECOND}
    assert dog.find_reason() is None


def test_a_node_that_has_run_something_meanwhile_is_not_deaf(world: World, dog: Watchdog) -> None:
    world.messages = {"job_a": FIRST}
    assert dog.find_reason() is None
    world.idle_seconds = 29
    assert dog.find_reason() is None
    world.idle_seconds = 3600
    world.messages = {"job_a": SECOND}
    assert dog.find_reason() is None, "what it missed before does not count"


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a mistake of ours")])
def test_a_check_that_fails_is_no_reason(world: World, dog: Watchdog, error: Exception) -> None:
    world.error = error
    assert dog.find_reason() is None


LOST = "close: the worker exited because its event loop is blocked"


@pytest.fixture
def pauses(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens during each pause of the watchdog; each is 2 s, and the test fails if there are more."""

    def end(code: int) -> None:
        world.calls.append(f"exit {code}")

    def pause(seconds: float) -> None:
        world.seconds += seconds
        planned.pop(0)()

    planned: list[Callable[[], object]] = []
    monkeypatch.setattr(watchdog, "os", SimpleNamespace(_exit=end, EX_SOFTWARE=os.EX_SOFTWARE))
    monkeypatch.setattr(watchdog, "_pause", pause)
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: world.seconds))
    yield planned
    assert planned == []


def test_a_node_with_a_reason_deregisters_and_ends(
    world: World, dog: Watchdog, pauses: list[Callable[[], object]]
) -> None:
    world.seconds += 61
    dog.run()
    assert world.calls == [LOST, f"exit {os.EX_SOFTWARE}"]


def test_a_node_whose_loop_stands_still_ends_after_its_jobs(
    world: World, dog: Watchdog, pauses: list[Callable[[], object]]
) -> None:
    def be_cut_off() -> None:
        world.error = DatabaseUnavailable()

    def end_the_job() -> None:
        world.error, world.running = None, 0

    world.seconds += 61
    world.running = 1
    pauses += [lambda: None] * 100 + [be_cut_off, end_the_job]
    dog.run()
    assert world.calls == [LOST, f"exit {os.EX_SOFTWARE}"]


def test_a_node_whose_loop_recovers_while_its_jobs_run_goes_on(
    world: World, dog: Watchdog, pauses: list[Callable[[], object]]
) -> None:
    def stop_testing() -> None:
        raise InterruptedError

    world.seconds += 61
    world.running = 1
    pauses += [lambda: None] * 20 + [loop_liveness.record_turn, lambda: None, stop_testing]
    with pytest.raises(InterruptedError):
        dog.run()
    assert LOST not in world.calls


def test_a_job_that_never_ends_does_not_keep_a_node_whose_loop_stands_still(
    world: World, dog: Watchdog, pauses: list[Callable[[], object]]
) -> None:
    def wait_for_hours() -> None:
        world.seconds += 4300

    world.seconds += 61
    world.running = 1
    pauses += [wait_for_hours]
    dog.run()
    assert world.calls == [LOST, f"exit {os.EX_SOFTWARE}"]


def test_the_event_loop_turns_for_three_seconds_after_a_turn(world: World) -> None:
    assert loop_liveness.is_turning()
    world.seconds += 2.9
    loop_liveness.record_attempt()
    assert loop_liveness.is_turning()
    world.seconds += 0.1
    assert not loop_liveness.is_turning(), "an attempt to connect is no turn"
    assert loop_liveness.silent_seconds() == pytest.approx(0.1)
    loop_liveness.record_turn()
    assert loop_liveness.is_turning()
    assert loop_liveness.silent_seconds() == 0


def test_a_thawed_node_is_not_ended_before_its_loop_could_turn(
    world: World, dog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 2:
            # The loop turns a moment after the thaw.
            loop_liveness.record_turn()
        if len(sleeps) == 4:
            raise InterruptedError
        world.seconds += 600 if len(sleeps) == 1 else seconds

    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: world.seconds, sleep=sleep))
    monkeypatch.setattr(os, "_exit", lambda _: pytest.fail("the node ended itself"))
    with pytest.raises(InterruptedError):
        dog.run()
    assert LOST not in world.calls
