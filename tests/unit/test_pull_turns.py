"""Turns of the queues of pulled jobs in the feed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ava.dispatcher.feed import known_windows
from ava.dispatcher.feed.known_windows import PullRoundRobin
from ava.store.jobs.feed.polls import Poll, Window


def queue(tenant: str, worker: str) -> str:
    return f"pull:{tenant}:{worker}:{tenant}"


def poll(*queues: str, is_complete: bool = True, closed: Sequence[str] = ()) -> tuple[Poll, dict[str, list[Window]]]:
    windows = {
        name: [Window(queue=name, priority=number, published=0, has_backlog=True) for number in (1, 5)]
        for name in queues
    }
    found = Poll(
        windows=[window for each in windows.values() for window in each],
        paused=frozenset(),
        closed=frozenset(closed),
        processes={},
        limit_keys=[],
        is_complete=is_complete,
    )
    return found, windows


MANY = [queue("ten_many", f"wkr_{number:03}") for number in range(200)]
OWN = queue("ten_own", "wkr_one")


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look feeds one queue."""
    monkeypatch.setattr(known_windows, "_FEED_SECONDS", -1.0)


def test_a_tenant_with_many_queues_delays_another_by_one_poll() -> None:
    turns, taken = PullRoundRobin(), []
    for _ in range(8):
        turns.see(*poll(*MANY, OWN, "default"))
        taken += [name for name, _ in turns.take()]
    assert [name == OWN for name in taken] == [False, True] * 4
    assert len({name for name in taken if name != OWN}) == 4


def test_jobs_that_a_poll_left_are_fed_by_the_next_ones_which_read_less() -> None:
    turns, taken = PullRoundRobin(), []
    assert turns.see(*poll(*MANY[:3])) == MANY[:3]
    for _ in range(5):
        taken += [name for name, _ in turns.take()]
        turns.see(*poll("default", is_complete=False))
    assert (taken, turns.has_more) == (MANY[:3], False)


def test_closed_windows_stay_closed_until_a_poll_reads_them() -> None:
    turns = PullRoundRobin()
    closed = [f"{name}:1" for name in (*MANY[:2], OWN, "default")]
    found, windows = poll(*MANY[:2], closed=closed)
    turns.see(found, windows)
    ((first, _),) = turns.take()
    # Of what has no jobs any more a complete look opens the window.
    assert turns.unchanged(found, {first}) == {(MANY[1], 1)}
    partial, windows = poll(is_complete=False, closed=closed)
    turns.see(partial, windows)
    assert turns.unchanged(partial, {MANY[1]}) == {(MANY[0], 1), (OWN, 1)}
