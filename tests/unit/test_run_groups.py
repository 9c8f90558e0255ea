"""Groups of brief jobs: which jobs share a message, and what a process gives back of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ava.domain import run_groups
from ava.domain.messages import MAX_RUNS, Message
from ava.errors import DatabaseUnavailable
from ava.node.child import run_group
from ava.node.child.run_group import RunGroup
from ava.store.jobs import shared_claims, turns

FIRST, SECOND, THIRD = ("job_a", 1), ("job_b", 1), ("job_c", 4)


@dataclass(frozen=True)
class Published:
    """What `form` reads of a job."""

    worker_id: str
    priority: int = 5


@pytest.mark.parametrize(
    ("run_seconds", "waiting", "processes", "expected"),
    [
        (0.0002, 500, 2, MAX_RUNS),
        (0.004, 500, 2, 5),
        (0.011, 500, 2, 1),
        (60.0, 500, 2, 1),
        # A few jobs are spread over the processes.
        (0.0002, 16, 2, 2),
        (0.0002, 3, 2, 1),
        (0.0002, 500, 0, MAX_RUNS),
    ],
)
def test_a_group_takes_no_longer_than_its_time_and_leaves_no_process_idle(
    run_seconds: float, waiting: int, processes: int, expected: int
) -> None:
    assert run_groups.size(run_seconds, waiting=waiting, processes=processes) == expected


def test_groups_keep_the_order_and_have_one_worker_and_one_priority() -> None:
    a, b, urgent = Published("wkr_a"), Published("wkr_b"), Published("wkr_a", 1)
    jobs: Any = [urgent, a, a, a, b, b, a]
    assert run_groups.form(jobs, {"wkr_a": 2}) == [[urgent], [a, a], [a], [b], [b], [a]]
    assert run_groups.form(jobs, run_groups.NONE) == [[job] for job in jobs]
    assert run_groups.form([], {"wkr_a": 2}) == []


class Database:
    """Notes the runs that are given back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        self.recalled: list[tuple[str, int]] = []
        self.given_back: list[tuple[str, int]] = []
        self.claim_ids: list[str] = []
        monkeypatch.setattr(turns, "recall_runs", lambda _connection, runs: self.recalled.extend(runs))
        monkeypatch.setattr(shared_claims, "give_back", self._give_back)

    def _give_back(self, _connection: None, runs: Sequence[tuple[str, int, str]]) -> None:
        for job_id, run_no, claim_id in runs:
            self.given_back.append((job_id, run_no))
            self.claim_ids.append(claim_id)

    @contextmanager
    def connect(self) -> Iterator[None]:
        if self.is_away:
            raise DatabaseUnavailable
        yield


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Database(monkeypatch)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> RunGroup:
    """A group of three runs, of which the first has begun; it has time."""
    monkeypatch.setattr(run_group.run_groups, "SECONDS", 60.0)
    group = RunGroup()
    group.begin(Message("wkr_a", (FIRST, SECOND, THIRD)))
    return group


def test_runs_are_taken_in_their_order_each_as_a_message_of_its_own(group: RunGroup) -> None:
    second = group.take()
    assert second == Message("wkr_a", (SECOND,)) == group.following
    assert group.is_at(Message("wkr_a", (SECOND,)))
    assert group.following is None
    assert not group.is_at(Message("wkr_a", (SECOND,)))
    assert group.take() == Message("wkr_a", (THIRD,))
    assert group.take() is None
    assert not group.is_late


def test_after_its_time_a_group_takes_nothing_and_gives_back_the_rest(group: RunGroup, database: Any) -> None:
    group.take()
    group._ends_at = 0.0
    assert group.is_late
    assert group.take() is None
    group.give_back(database)
    assert database.recalled == database.given_back == [THIRD]
    assert not group.is_late
    group.give_back(database)
    assert database.recalled == [THIRD]


def test_what_could_not_be_given_back_is_given_back_later_also_after_the_next_message(
    group: RunGroup, database: Any
) -> None:
    database.is_away = True
    with pytest.raises(DatabaseUnavailable):
        group.give_back(database)
    group.begin(Message("wkr_b", (("job_d", 1),)))
    assert group.is_late
    assert group.take() is None
    database.is_away = False
    group.give_back(database)
    assert database.recalled == [SECOND, THIRD]
    assert not group.is_late


def test_the_last_run_may_be_taken_while_the_others_are_given_back(group: RunGroup, database: Any) -> None:
    class Waiting(deque[tuple[str, int, str]]):
        def popleft(self) -> tuple[str, int, str]:
            if len(self) == 1:
                # As the main thread does, between a look and a step of the companion thread.
                super().popleft()
            return super().popleft()

    group._waiting = Waiting(group._waiting)
    group.give_back(database)
    assert database.recalled == database.given_back == [SECOND]


def test_what_is_given_back_was_claimed_with_the_id_of_its_own_message(group: RunGroup, database: Any) -> None:
    class Waiting(deque[tuple[str, int, str]]):
        def popleft(self) -> tuple[str, int, str]:
            run = super().popleft()
            if run[:2] == THIRD:
                # As the main thread does once it finds nothing more to take.
                group.begin(Message("wkr_b", (("job_d", 1), ("job_e", 1))))
            return run

    of_first = group.claim_id
    group._waiting = Waiting(group._waiting)
    group.give_back(database)
    assert database.claim_ids == [of_first, of_first, group.claim_id]


def test_each_run_is_taken_or_given_back_and_none_twice(group: RunGroup, database: Any) -> None:
    runs = tuple((f"job_{number}", 1) for number in range(2000))
    group.begin(Message("wkr_a", runs))
    given_back = threading.Thread(target=group.give_back, args=(database,))
    taken = []
    while (message := group.take()) is not None:
        taken += message.runs
        if len(taken) == 500:
            given_back.start()
    if len(taken) < 500:
        given_back.start()
    given_back.join()
    assert sorted([*taken, *database.recalled]) == sorted([SECOND, THIRD, *runs[1:]])
