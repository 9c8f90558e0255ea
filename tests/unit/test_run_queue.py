"""The runs of a process's message: which comes next, how the current one ends, and what is requeued."""

from __future__ import annotations

import math
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from ava.domain.jobs import run_groups
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import Message
from ava.node.child.run_queue import QueuedRun, RunQueue, Way

FIRST, SECOND, THIRD = RunKey("ten_a", "job_a", 1), RunKey("ten_b", "job_b", 1), RunKey("ten_a", "job_c", 4)
WORKER = "wkr_a"
GROUP = Message(WORKER, (FIRST, SECOND, THIRD))
CLAIM, OTHER_CLAIM = "claim", "other"
NOW = 1000.0
IN_TIME, LATE = NOW + run_groups.LONG_SECONDS / 2, NOW + run_groups.LONG_SECONDS


def _job(run: RunKey) -> Any:
    return SimpleNamespace(run=run, worker_id=WORKER)


def _run(job_id: str) -> RunKey:
    return RunKey("ten_a", job_id, 1)


def _received(message: Message = GROUP) -> RunQueue:
    queue = RunQueue()
    queue.receive(message, CLAIM, NOW)
    return queue


def _begin(queue: RunQueue, *, together: int = 1, claimed: tuple[tuple[str, int], ...] = GROUP.runs) -> QueuedRun:
    """Claim the next run, and those that share its claim, as far as they can be `claimed`; begin it."""
    assert queue.next is not None
    if queue.next.job is None:
        wanted = queue.to_claim(together)
        queue.record_claimed(wanted, [_job(run.key) for run in wanted if run.key in claimed], CLAIM, NOW)
    return queue.begin(NOW)


def _decide(queue: RunQueue, **changes: Any) -> Way:
    return queue.decide_way(**{"is_completed": True, "goes_on": True, "next_seconds": 0.001, "now": NOW, **changes})


def _keys(runs: Any) -> list[tuple[str, int]]:
    return [run.key for run in runs]


# To a run ----------------------------------------------------------------------------------------------------------


def test_runs_are_taken_in_their_order_each_as_a_message_of_its_own() -> None:
    queue = _received()
    assert queue.next is not None
    assert (queue.next.key, queue.next.is_within) == (FIRST, False)
    for run in (SECOND, THIRD):
        _begin(queue)
        assert _decide(queue) is Way.WITH_NEXT
        assert queue.next is not None
        assert queue.next.message == Message(WORKER, (run,))
        assert queue.expects(queue.next.message)
    _begin(queue)
    assert _decide(queue) is Way.ALONE
    assert queue.next is None


@pytest.mark.parametrize(
    ("max_together", "wanted"), [(1, [FIRST]), (2, [FIRST, SECOND]), (3, [*GROUP.runs]), (16, [*GROUP.runs])]
)
def test_as_many_runs_are_claimed_together_as_may_be(max_together: int, wanted: list[tuple[str, int]]) -> None:
    assert _keys(_received().to_claim(max_together)) == wanted


def test_only_runs_that_are_not_claimed_are_claimed_with_the_next() -> None:
    queue = _received()
    _begin(queue, together=2)
    _decide(queue)
    assert queue.next is not None
    assert queue.next.job is not None
    _begin(queue)
    _decide(queue)
    assert _keys(queue.to_claim(16)) == [THIRD]


def test_a_run_that_was_not_claimed_with_others_is_claimed_alone() -> None:
    queue = _received()
    _begin(queue, together=3, claimed=(FIRST, THIRD))
    assert _decide(queue) is Way.KEEP
    assert queue.next is not None
    assert (queue.next.key, queue.next.job) == (SECOND, None)
    assert _keys(queue.to_claim(16)) == [SECOND]
    queue.drop_next()
    queue.take_next(goes_on=True)
    assert queue.next.key == THIRD
    assert queue.next.job is not None


def test_runs_of_a_shared_claim_are_checked_before_they_begin_but_for_the_one_that_was_claimed_just_now() -> None:
    queue = _received()
    assert not _begin(queue, together=3).is_to_check
    for _ in (SECOND, THIRD):
        _decide(queue)
        assert _begin(queue).is_to_check


def test_a_run_that_was_taken_ahead_begins_with_its_message() -> None:
    queue = _received(Message(WORKER, (FIRST,)))
    _begin(queue)
    assert _decide(queue) is Way.ALONE
    queue.follow(_job(SECOND), OTHER_CLAIM, 5, 0.5, is_within=False)
    message = Message(WORKER, (SECOND, THIRD))
    assert not queue.expects(message)
    queue.receive(message, CLAIM, NOW + 1)
    assert queue.next is not None
    assert (queue.next.claim_id, queue.next.job is None, queue.next.sent_ns) == (OTHER_CLAIM, False, 5)
    assert not queue.begin(NOW).is_shared
    assert _decide(queue) is Way.WITH_NEXT


def test_another_message_is_no_run_that_was_taken_ahead() -> None:
    queue = _received(Message(WORKER, (FIRST,)))
    _begin(queue)
    _decide(queue)
    queue.follow(_job(SECOND), OTHER_CLAIM, 5, 0.5, is_within=False)
    queue.receive(Message(WORKER, (THIRD,)), CLAIM, NOW + 1)
    assert queue.next is not None
    assert (queue.next.key, queue.next.job) == (THIRD, None)


def test_a_more_urgent_job_is_looked_for_now_and_then_while_runs_wait() -> None:
    queue = _received()
    _begin(queue)
    assert not queue.must_poll(NOW)
    assert queue.must_poll(NOW + run_groups.POLL_SECONDS)
    assert not queue.must_poll(NOW + run_groups.POLL_SECONDS)
    for _ in (SECOND, THIRD):
        _decide(queue)
        _begin(queue)
    assert not queue.must_poll(LATE), "none waits"


def test_the_runs_behind_one_make_way_for_a_more_urgent_job() -> None:
    queue = _received()
    _begin(queue)
    queue.make_way()
    assert _decide(queue) is Way.ALONE
    assert queue.next is None
    assert queue.must_requeue(NOW)
    assert _keys(queue.take_to_requeue()) == [SECOND, THIRD]


def test_a_run_that_was_not_claimed_because_of_a_more_urgent_job_goes_back_before_those_behind_it() -> None:
    queue = _received()
    _begin(queue)
    assert _decide(queue) is Way.WITH_NEXT
    assert not queue.is_poll_due(NOW)
    assert queue.is_poll_due(NOW + run_groups.POLL_SECONDS)
    queue.make_way()
    assert queue.next is None
    assert _keys(queue.take_to_requeue()) == [SECOND, THIRD]


# Out of a run ------------------------------------------------------------------------------------------------------

ALONE = Message(WORKER, (FIRST,))


@pytest.mark.parametrize(
    ("message", "together", "changes", "way", "following"),
    [
        pytest.param(ALONE, 1, {}, Way.ALONE, None, id="one run"),
        pytest.param(GROUP, 1, {}, Way.WITH_NEXT, SECOND, id="the next one is claimed with its end"),
        pytest.param(GROUP, 1, {"is_completed": False}, Way.WITH_NEXT, SECOND, id="also after a failure"),
        pytest.param(GROUP, 1, {"goes_on": False}, Way.ALONE, None, id="the process has to end"),
        pytest.param(GROUP, 3, {}, Way.KEEP, SECOND, id="a shared claim: it is kept"),
        pytest.param(GROUP, 2, {}, Way.KEEP, SECOND, id="also if the one after the next is not claimed"),
        pytest.param(
            GROUP, 3, {"goes_on": False}, Way.ALONE, None, id="the first of a claim, and the process must end"
        ),
        pytest.param(GROUP, 3, {"next_seconds": math.inf}, Way.ALONE, SECOND, id="its end shares no statement"),
        pytest.param(GROUP, 3, {"is_completed": False}, Way.ALONE, SECOND, id="a failure is written at once"),
    ],
)
def test_the_way_out_of_a_run_follows_from_what_is_next(
    message: Message, together: int, changes: dict[str, bool], way: Way, following: Any
) -> None:
    queue = _received(message)
    _begin(queue, together=together)
    assert _decide(queue, **changes) is way
    assert (None if queue.next is None else queue.next.key) == following


def test_the_last_run_of_a_shared_claim_is_written_with_the_others() -> None:
    queue = _received()
    ways = []
    for _ in GROUP.runs:
        _begin(queue, together=3)
        ways.append(_decide(queue))
    assert ways == [Way.KEEP, Way.KEEP, Way.TOGETHER]


def test_a_buffered_end_is_written_before_a_run_that_would_delay_it_too_much() -> None:
    runs = (*GROUP.runs, _run("job_d"), _run("job_e"))
    queue = _received(Message(WORKER, runs))
    ways, now, brief = [], NOW, run_groups.END_SECONDS * 0.4
    for _ in runs:
        _begin(queue, together=5, claimed=runs)
        ways.append(_decide(queue, next_seconds=brief, now=now))
        if ways[-1] is not Way.KEEP:
            queue.forget_kept()
        assert (queue.write_at is None) == (ways[-1] is not Way.KEEP)
        now += brief
    assert ways == [Way.KEEP, Way.KEEP, Way.TOGETHER, Way.KEEP, Way.TOGETHER]


def test_runs_that_have_shown_as_running_for_too_long_return_instead_of_beginning() -> None:
    queue = _received()
    _begin(queue, together=2)
    _decide(queue)
    assert not queue.return_overdue(NOW + run_groups.SHOWN_SECONDS * 0.9)
    assert queue.return_overdue(NOW + run_groups.SHOWN_SECONDS * 1.1)
    assert queue.next is None
    assert _keys(queue.take_to_requeue()) == [SECOND, THIRD]


# Back to the backlog -----------------------------------------------------------------------------------------------


def test_waiting_runs_must_be_requeued_while_the_run_before_them_takes_long() -> None:
    queue = _received()
    _begin(queue)
    assert not queue.must_requeue(IN_TIME)
    assert queue.must_requeue(LATE)
    taken = queue.take_to_requeue()
    assert [(*run.key, run.claim_id) for run in taken] == [(*SECOND, CLAIM), (*THIRD, CLAIM)]
    assert queue.take_to_requeue() == taken, "until it is requeued"
    queue.forget_requeued(taken)
    assert not queue.must_requeue(LATE)
    assert queue.take_to_requeue() == ()


def test_runs_that_could_not_be_requeued_stay_due_after_the_next_message_and_keep_their_claim() -> None:
    queue = _received()
    taken = queue.take_to_requeue()
    queue.receive(Message("wkr_b", (_run("job_d"), _run("job_e"))), OTHER_CLAIM, NOW)
    assert queue.must_requeue(NOW)
    # The requeue that was on its way has succeeded after all.
    queue.receive(Message("wkr_b", (_run("job_f"),)), OTHER_CLAIM, NOW)
    queue.forget_requeued(taken)
    assert [(run.key, run.claim_id) for run in queue.take_to_requeue()] == [(_run("job_e"), OTHER_CLAIM)]


def test_the_last_run_may_be_taken_while_the_others_are_requeued() -> None:
    class Waiting(deque[QueuedRun]):
        def popleft(self) -> QueuedRun:
            if len(self) == 1:
                # As the main thread does, between a look and a step of the companion thread.
                super().popleft()
            return super().popleft()

    queue = _received()
    queue._waiting = Waiting(queue._waiting)
    assert _keys(queue.take_to_requeue()) == [SECOND]


def test_each_run_has_its_own_time_before_the_runs_behind_it_must_be_requeued() -> None:
    queue = _received()
    _begin(queue)
    assert _decide(queue) is Way.WITH_NEXT
    assert queue.next is not None
    queue.record_claimed([queue.next], [_job(SECOND)], CLAIM, LATE)
    queue.begin(LATE)
    assert not queue.must_requeue(LATE + run_groups.LONG_SECONDS / 2)
    assert queue.must_requeue(LATE + run_groups.LONG_SECONDS)


def test_each_run_is_taken_or_requeued_and_none_twice() -> None:
    runs = tuple(_run(f"job_{number}") for number in range(2000))
    queue = _received(Message(WORKER, runs))
    requeued: list[QueuedRun] = []
    companion = threading.Thread(target=lambda: requeued.extend(queue.take_to_requeue()))
    taken = []
    while queue.next is not None:
        taken.append(queue.next.key)
        queue.take_next(goes_on=True)
        if len(taken) == 500:
            companion.start()
    companion.join()
    assert sorted([*taken, *_keys(requeued)]) == sorted(runs)
