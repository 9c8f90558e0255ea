"""How long handlers take: which runs share a claim, and how many."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from ava.domain.jobs import run_groups
from ava.domain.worker import OnWorkerLost
from ava.handler import registry
from ava.node.child import handler_times
from ava.node.child.handler_times import HandlerTimes

BRIEF = 0.0005


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> HandlerTimes:
    def find(worker_id: str) -> Any:
        lost = OnWorkerLost.FAIL if worker_id == "wkr_once" else OnWorkerLost.REQUEUE
        spec = SimpleNamespace(on_worker_lost=lost, shares_ends=worker_id != "wkr_single")
        return None if worker_id == "wkr_gone" else SimpleNamespace(spec=spec)

    monkeypatch.setattr(registry, "find", find)
    return HandlerTimes()


def test_runs_share_a_claim_once_their_handler_is_known_as_brief(times: HandlerTimes) -> None:
    assert times.max_together("wkr_a") == 1
    times.record("wkr_a", BRIEF)
    assert times.max_together("wkr_a") >= handler_times._MIN_TOGETHER
    times.record("wkr_a", 10 * handler_times.BRIEF_SECONDS)
    assert times.max_together("wkr_a") == 1


def test_an_author_can_have_each_end_written_immediately(times: HandlerTimes) -> None:
    for worker_id in ("wkr_a", "wkr_single"):
        times.record(worker_id, BRIEF)
        assert times.max_together(worker_id) > 1
    assert times.next_end_seconds("wkr_a") < run_groups.END_SECONDS
    assert times.next_end_seconds("wkr_single") == math.inf


def test_one_run_without_a_processor_makes_no_handler_slow(times: HandlerTimes) -> None:
    for seconds in (BRIEF, BRIEF, 3 * handler_times.BRIEF_SECONDS):
        times.record("wkr_a", seconds)
    assert times.max_together("wkr_a") > 1
    times.record("wkr_a", 100 * handler_times.BRIEF_SECONDS)
    for _ in range(3):
        assert times.max_together("wkr_a") == 1
        times.record("wkr_a", BRIEF)


@pytest.mark.parametrize("worker_id", ["wkr_once", "wkr_gone"])
def test_runs_whose_loss_is_a_failure_share_no_claim(times: HandlerTimes, worker_id: str) -> None:
    times.record(worker_id, BRIEF)
    assert times.max_together(worker_id) == 1


def test_no_claim_is_shared_while_runs_follow_each_other_slowly(
    times: HandlerTimes, monkeypatch: pytest.MonkeyPatch
) -> None:
    times.record("wkr_a", BRIEF)
    now = [0.0]
    monkeypatch.setattr(handler_times.time, "monotonic", lambda: now[0])
    times.record_begin(is_first=True)
    quick = times.max_together("wkr_a")
    for shown_part, expected in ((0.2, handler_times._MIN_TOGETHER), (0.3, 1), (0.9, 1)):
        for _ in range(60):
            now[0] += shown_part * run_groups.SHOWN_SECONDS
            times.record_begin(is_first=False)
        assert expected == times.max_together("wkr_a") < quick
    # The time between two messages says nothing.
    for _ in range(30):
        now[0] += BRIEF
        times.record_begin(is_first=False)
    now[0] += 60
    times.record_begin(is_first=True)
    assert times.max_together("wkr_a") > quick
