"""What a sender sends next: endpoint queues, what requests may hold, and the batches of the fan-out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ava.delivery.endpoint_queue import MAX_HELD, EndpointQueue, shared_capacities
from ava.delivery.fan_out import MAX_DELIVERIES, choose
from ava.delivery.sender_limits import SendBudget
from ava.domain.webhooks.webhook import MAX_CONCURRENT, RequestResult
from ava.store.webhooks.endpoint_leases import DueDelivery, HeldLease
from ava.store.webhooks.fan_out import FanOutCandidate


def _result(status: int | None = None, **rest: Any) -> RequestResult:
    return RequestResult(status=status, elapsed_ms=1, response_body="", error=None, **rest)


# Endpoint queues -------------------------------------------------------------------------------------------------


def _queue(concurrency: int = 4, timeouts: int = 0) -> EndpointQueue:
    return EndpointQueue(HeldLease(endpoint="e", tenant_id="ten_a", concurrency=concurrency, timeouts=timeouts))


def _due(name: str, job: str | None = None, **rest: Any) -> DueDelivery:
    return DueDelivery(
        id=name,
        endpoint="e",
        tenant_id=rest.pop("tenant_id", "ten_a"),
        job=job,
        failures=0,
        due_at=datetime(2026, 1, 1, tzinfo=UTC),
        requests=0,
        event_id="evt",
        body="{}",
        url="",
        sealed_secrets=("s",),
        **rest,
    )


def _names(queue: EndpointQueue) -> list[str]:
    names = []
    while (delivery := queue.next()) is not None:
        names.append(delivery.id)
    return names


def test_a_queue_sends_as_many_as_its_concurrency_in_order() -> None:
    queue = _queue(concurrency=2)
    queue.add([_due("a"), _due("b"), _due("c")])
    assert _names(queue) == ["a", "b"]
    queue.record_result("a", _result(404))
    assert _names(queue) == ["c"]


def test_two_events_of_one_job_are_never_sent_at_the_same_time_and_keep_their_order() -> None:
    queue = _queue()
    queue.add([_due("a1", "a"), _due("a2", "a"), _due("a3", "a"), _due("b1", "b")])
    assert _names(queue) == ["a1", "b1"]
    queue.record_result("a1", _result(200))
    assert _names(queue) == [], "the outcome of the first is not written yet"
    queue.finish("a1")
    assert _names(queue) == ["a2"]
    queue.record_result("a2", _result(200))
    queue.finish("a2")
    assert _names(queue) == ["a3"]


def test_after_a_timeout_the_lease_ends_with_deliveries_still_waiting() -> None:
    queue = _queue(concurrency=1)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.record_result("a", _result(is_timeout=True))
    queue.finish("a")
    assert _names(queue) == []
    assert queue.is_idle
    assert queue.end().timeouts == 1
    assert queue.end().pause_seconds == 2


def test_a_success_resets_the_timeouts_of_an_endpoint() -> None:
    queue = _queue(concurrency=1, timeouts=6)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.record_result("a", _result(200))
    queue.finish("a")
    assert _names(queue) == ["b"]
    assert queue.end().timeouts == 0
    assert queue.end().pause_seconds == 0


def test_retry_after_pauses_the_whole_endpoint() -> None:
    queue = _queue()
    queue.add([_due(name) for name in "abcdef"])
    assert len(_names(queue)) == 4
    for name in "abcd":
        queue.record_result(name, _result(429, retry_after_seconds=30.0))
        queue.finish(name)
    assert _names(queue) == []
    assert queue.end().pause_seconds == 30


def test_a_delivery_that_does_not_fit_keeps_its_position_and_that_of_its_job() -> None:
    queue = _queue()
    queue.add([_due("a1", "a"), _due("a2", "a"), _due("b1", "b")])
    taken = queue.next(lambda delivery: delivery.id != "a1")
    assert taken is not None
    assert taken.id == "b1"
    assert _names(queue) == ["a1"]


def test_a_delivery_whose_request_could_not_begin_is_the_next_again() -> None:
    queue = _queue(concurrency=1)
    queue.add([_due("a"), _due("b")])
    assert _names(queue) == ["a"]
    queue.put_back("a")
    assert _names(queue) == ["a"]


def _asking(endpoint: str, tenant_id: str, held: int = 0) -> EndpointQueue:
    queue = EndpointQueue(HeldLease(endpoint=endpoint, tenant_id=tenant_id, concurrency=MAX_CONCURRENT, timeouts=0))
    queue.add(_due(f"{endpoint}-{number}") for number in range(held))
    return queue


def test_the_deliveries_in_memory_are_bounded_and_an_endpoint_beside_many_gets_its_own() -> None:
    many = [_asking(f"many-{number}", "ten_many") for number in range(100)]
    one = _asking("one", "ten_one")
    capacities = shared_capacities([*many, one])
    assert sum(capacities.values()) <= MAX_HELD
    assert sum(capacity for endpoint, capacity in capacities.items() if endpoint != "one") <= 1_000
    assert capacities["one"] >= 10
    # Even when everything is held, a queue that is empty gets one.
    full = [_asking(f"full-{number}", f"ten_{number}", held=256) for number in range(20)]
    assert shared_capacities([*full, one]) == {"one": 1}


# What requests hold ----------------------------------------------------------------------------------------------


def test_one_tenant_holds_at_most_a_quarter_of_the_connections() -> None:
    budget = SendBudget(connections=100)
    for number in range(25):
        assert budget.has_connection("ten_a")
        budget.take(_due(f"{number}"))
    assert not budget.has_connection("ten_a")
    assert budget.has_connection("ten_b")
    budget.release(_due("0"))
    assert budget.has_connection("ten_a")


def test_the_large_bodies_of_one_tenant_leave_memory_for_those_of_others() -> None:
    budget = SendBudget(connections=100, body_bytes=100)
    large = _due("large", bytes_to_read=60)
    assert budget.fits(large), "a tenant without others may send any"
    budget.take(large)
    assert not budget.fits(_due("next", bytes_to_read=1))
    assert budget.fits(_due("small"))
    other = _due("other", tenant_id="ten_b", bytes_to_read=40)
    assert budget.fits(other)
    budget.take(other)
    assert not budget.fits(_due("third", tenant_id="ten_c", bytes_to_read=1)), "the total is bounded too"
    budget.release(large)
    assert budget.fits(_due("third", tenant_id="ten_c", bytes_to_read=60))


# The choice of a fan-out's batch ---------------------------------------------------------------------------------


def _candidate(name: str, tenant_id: str, deliveries: int = 1, *, has_more: bool = False) -> FanOutCandidate:
    return FanOutCandidate(
        id=name, tenant_id=tenant_id, deliveries=deliveries, has_more=has_more, has_body=False, age_seconds=0.0
    )


def test_a_batch_ends_where_its_deliveries_become_too_many() -> None:
    found = [_candidate(f"{number}", f"ten_{number}", 500) for number in range(9)]
    assert sum(each.deliveries for each in choose(found)) == MAX_DELIVERIES
    assert choose([_candidate("one", "ten_a", MAX_DELIVERIES + 1)]), "the first is always chosen"


def test_events_behind_one_that_needs_a_further_batch_wait_and_those_of_others_do_not() -> None:
    found = [_candidate("a1", "ten_a", 500, has_more=True), _candidate("b1", "ten_b")]
    found += [_candidate("a2", "ten_a"), _candidate("b2", "ten_b")]
    assert [each.id for each in choose(found)] == ["a1", "b1", "b2"]
