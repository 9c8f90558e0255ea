"""Since when a node has had a free process: the sign that messages of its queues were lost."""

from __future__ import annotations

import pytest

from ava.domain.jobs.job import RunKey
from ava.node.parent import pool_runs
from ava.node.parent.pool_runs import GivenRuns, PoolRuns


def _given(pid: int) -> GivenRuns:
    return GivenRuns(pid=pid, runs=(RunKey("ten_a", f"job_{pid}", 1),))


def test_a_process_is_free_however_many_runs_the_others_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pool_runs.time, "monotonic", lambda: now[0])
    runs = PoolRuns("node")
    runs.processes = 2
    first, second = _given(1), _given(2)
    for _ in range(10):
        now[0] += 1
        runs.give(first)
        runs.take_back(first)
    assert (runs.free_seconds, runs.quiet_seconds) == (10, 0)
    for given in (first, second):
        runs.give(given)
    now[0] += 5
    assert runs.free_seconds == 0
    runs.take_back(second)
    now[0] += 3
    assert runs.free_seconds == 3
