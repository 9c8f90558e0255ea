"""Turns of tenants and the size of a window: rules without I/O."""

from __future__ import annotations

from collections import Counter

import pytest

from ava.domain.limits.fair_queueing import FairQueueClock, WaitingJob, by_age
from ava.domain.limits.window_size import WindowSize


def _jobs(tenant: str, count: int, worker: str = "wkr_a") -> list[WaitingJob]:
    return [WaitingJob(id=f"{n:04}-{tenant}", tenant_id=tenant, worker_id=worker) for n in range(count)]


def _deal(
    clock: FairQueueClock, *waiting: list[WaitingJob], capacity: int = 100, **rules: dict[str, float]
) -> list[str]:
    costs, weights = rules.get("costs", {}), rules.get("weights", {})
    dealt = clock.deal(
        {jobs[0].tenant_id: jobs for jobs in waiting},
        capacity,
        cost=lambda job: costs.get(job.worker_id, 1.0),
        weight=lambda tenant: weights.get(tenant, 1.0),
    )
    return [job.tenant_id for job in dealt]


def test_tenants_alternate_and_each_one_has_its_oldest_job_first() -> None:
    clock = FairQueueClock()
    dealt = clock.deal({"a": _jobs("a", 3), "b": _jobs("b", 2)}, 10, cost=lambda _: 1.0, weight=lambda _: 1.0)
    assert [job.id for job in dealt] == ["0000-a", "0000-b", "0001-a", "0001-b", "0002-a"]


def test_a_tenant_that_comes_later_is_next_and_has_saved_no_turns() -> None:
    clock = FairQueueClock()
    assert _deal(clock, _jobs("a", 50), capacity=50) == ["a"] * 50
    assert _deal(clock, _jobs("a", 9), _jobs("b", 9), capacity=6) == ["b", "a", "b", "a", "b", "a"]


def test_shares_are_in_proportion_to_the_weights() -> None:
    clock, dealt = FairQueueClock(), Counter[str]()
    for _ in range(70):
        dealt.update(
            _deal(clock, _jobs("a", 9), _jobs("b", 9), _jobs("c", 9), capacity=5, weights={"a": 1, "b": 2, "c": 4})
        )
    assert [round(dealt[tenant] / 350, 2) for tenant in "abc"] == [0.14, 0.29, 0.57]


def test_few_long_jobs_do_not_win_over_many_short_ones() -> None:
    clock, dealt = FairQueueClock(), Counter[str]()
    for _ in range(60):
        dealt.update(_deal(clock, _jobs("a", 9, "wkr_long"), _jobs("b", 9), capacity=7, costs={"wkr_long": 10.0}))
    assert dealt["a"] * 10 == pytest.approx(dealt["b"], rel=0.05)


def test_a_tenant_that_returns_one_long_job_at_a_time_still_owes_its_cost() -> None:
    clock = FairQueueClock()
    assert _deal(clock, _jobs("a", 1, "wkr_long"), _jobs("b", 9), capacity=1, costs={"wkr_long": 5.0}) == ["a"]
    assert _deal(clock, _jobs("b", 9), capacity=3, costs={"wkr_long": 5.0}) == ["b"] * 3
    assert _deal(clock, _jobs("a", 1, "wkr_long"), _jobs("b", 9), capacity=4) == ["b", "b", "a", "b"]


def test_jobs_that_return_to_the_backlog_are_paid_back() -> None:
    clock = FairQueueClock()
    assert _deal(clock, _jobs("a", 9), capacity=9) == ["a"] * 9
    for _ in range(7):
        clock.refund("a", 1.0)
    # The tenant has had two turns, as if only those had been dealt.
    assert _deal(clock, _jobs("a", 9), _jobs("b", 9), capacity=4) == ["b", "a", "b", "a"]


def test_without_fairness_the_oldest_job_is_first() -> None:
    dealt = by_age({"a": _jobs("a", 3), "b": _jobs("b", 1)}, 3, each=9)
    assert [job.id for job in dealt] == ["0000-a", "0000-b", "0001-a"]


def test_without_fairness_no_job_overtakes_an_older_one_that_was_not_read() -> None:
    # The next job of `a` may be older than those of `b`.
    dealt = by_age({"a": _jobs("a", 3), "b": _jobs("b", 5)[3:]}, 9, each=3)
    assert [job.id for job in dealt] == ["0000-a", "0001-a", "0002-a"]


# The size of a window -------------------------------------------------------------------------------------------------


def _drain(size: WindowSize, *, per_second: float, processes: int, is_shared: bool, most: int) -> list[int]:
    """Returns the sizes over ten seconds, of a window from which so many messages are taken."""
    sizes, published, now = [], 0.0, 0.0
    for _ in range(200):
        found = size.poll(now, published=round(published), processes=processes, is_shared=is_shared)
        sizes.append(found)
        published = max(published, found)
        size.fed(published=round(published), has_backlog=True)
        published, now = max(0.0, published - per_second * 0.05), now + 0.05
    assert max(sizes) <= most
    return sizes


def test_a_window_of_one_tenant_grows_to_what_is_taken_in_half_a_second() -> None:
    sizes = _drain(WindowSize(2000), per_second=1000, processes=2, is_shared=False, most=2000)
    assert max(sizes[:10]) >= 100
    assert 450 <= sizes[-1] <= 550


def test_a_shared_window_holds_a_few_messages_for_each_process() -> None:
    sizes = _drain(WindowSize(2000), per_second=40, processes=2, is_shared=True, most=2000)
    assert 2 <= sizes[-1] <= 8
    sizes = _drain(WindowSize(2000), per_second=1000, processes=2, is_shared=True, most=2000)
    assert 120 <= sizes[-1] <= 200


def test_a_window_has_no_more_than_the_setting_says() -> None:
    _drain(WindowSize(20), per_second=1000, processes=2, is_shared=False, most=20)
    _drain(WindowSize(1), per_second=1000, processes=2, is_shared=True, most=1)


def test_a_window_of_long_jobs_holds_one_message_for_each_process_once_it_is_shared() -> None:
    size = WindowSize(2000)
    assert size.poll(0, published=0, processes=40, is_shared=False) == 80
    size.fed(published=80, has_backlog=True)
    assert size.poll(0.05, published=80, processes=40, is_shared=True) == 40


def test_a_window_is_small_as_soon_as_another_tenant_waits() -> None:
    size = WindowSize(2000)
    alone = published = 0
    for number in range(20):
        alone = size.poll(number * 0.1, published=published, processes=8, is_shared=False)
        size.fed(published=alone, has_backlog=True)
        # Eight processes take jobs of 50 ms.
        published = alone - 16
    shared = size.poll(2.0, published=published, processes=8, is_shared=True)
    assert alone > 2 * shared
    assert published > 1.5 * shared, "what is published is dealt anew"


def test_a_late_poll_before_another_tenant_came_makes_no_shared_window_larger() -> None:
    size, now, published = WindowSize(2000), 0.0, 0
    for _ in range(20):
        now += 0.2
        alone = size.poll(now, published=published, processes=2, is_shared=False)
        size.fed(published=alone, has_backlog=True)
        # Two processes take jobs of 50 ms.
        published = alone - 8
    shared = size.poll(now + 0.1, published=published + 4, processes=2, is_shared=True)
    assert size.is_newly_shared
    assert shared < published + 4, "what is published is dealt anew"
