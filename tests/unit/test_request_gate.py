"""The gate of requests in the event loop. Each test has a thread, and so an event loop, of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import gevent
import pytest

from ava.api.gate import request_gate
from ava.api.gate.request_gate import RequestGate


def in_event_loop(test: Callable[[RequestGate], None]) -> None:
    """Run a test's steps in greenlets of a new thread. Raises what they raise."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            gate = RequestGate()
            test(gate)
            gevent.sleep(0.01)
            assert (gate._served, gate._waiting) == ({}, {}), "nothing is under way, and nothing waits"
        except BaseException as error:
            errors.append(error)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def serve(gate: RequestGate, *requests: tuple[str, int]) -> str:
    """Serve requests that all arrive at once. Returns their names in the order in which they begin.

    The first letter of a name is the tenant. The number says how often the request yields the event loop.
    """
    order: list[str] = []

    def serve_one(name: str, yields: int) -> None:
        end = gate.begin(name[0])
        order.append(name)
        for _ in range(yields):
            gevent.sleep(0)
        end()

    gevent.joinall([gevent.spawn(serve_one, *each) for each in requests], raise_error=True)
    return " ".join(order)


def be_beside_others(gate: RequestGate) -> None:
    """Let a tenant not be alone."""
    serve(gate, ("a0", 0), ("z0", 0))


def test_a_tenant_that_is_alone_waits_for_nothing() -> None:
    def test(gate: RequestGate) -> None:
        assert serve(gate, ("a1", 9), ("a2", 9), ("a3", 9), ("b1", 9)) == "a1 a2 a3 b1"

    in_event_loop(test)


def test_a_tenant_is_alone_again_some_time_after_the_last_request_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "_ALONE_SECONDS", 0.0)

    def test(gate: RequestGate) -> None:
        be_beside_others(gate)
        serve(gate, ("a0", 0))
        assert serve(gate, ("a1", 9), ("a2", 9), ("a3", 9), ("b1", 9)) == "a1 a2 a3 b1"

    in_event_loop(test)


@pytest.mark.parametrize("yields", [0, 9])
def test_a_tenants_first_request_comes_before_the_many_of_another(yields: int) -> None:
    def test(gate: RequestGate) -> None:
        be_beside_others(gate)
        assert serve(gate, ("a1", yields), ("a2", yields), ("a3", yields), ("b1", yields)) == "a1 b1 a2 a3"

    in_event_loop(test)


def test_tenants_with_many_requests_take_turns() -> None:
    def test(gate: RequestGate) -> None:
        be_beside_others(gate)
        requests = (("a1", 99), ("a2", 1), ("a3", 1), ("b1", 99), ("b2", 1), ("b3", 1))
        assert serve(gate, *requests) == "a1 b1 a2 b2 a3 b3"

    in_event_loop(test)


def test_a_request_begins_after_a_while_although_the_loop_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "_MAX_WAIT_SECONDS", 0.5)

    def test(gate: RequestGate) -> None:
        def be_busy() -> None:
            while True:
                gevent.sleep(0)

        be_beside_others(gate)
        busy = gevent.spawn(be_busy)
        end = gate.begin("a")
        late = gevent.spawn(serve, gate, ("a2", 0))
        late.join(0.01)
        assert not late.ready()
        late.join(20)
        assert late.ready()
        busy.kill()
        end()

    in_event_loop(test)


def test_a_request_that_is_killed_while_it_waits_leaves_no_trace() -> None:
    def test(gate: RequestGate) -> None:
        be_beside_others(gate)
        end = gate.begin("a")
        waiting = gevent.spawn(gate.begin, "a")
        gevent.sleep(0)
        assert not waiting.ready()
        waiting.kill()
        end()

    in_event_loop(test)
