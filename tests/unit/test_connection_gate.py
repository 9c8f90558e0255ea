"""The gate for a pool's connections: a tenant's share, and who is next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ava.errors import ConnectionsBusy, TooMany
from ava.store.engine.connection_gate import ConnectionGate
from harness.polling import wait_until

_tenant = threading.local()


def make(size: int, wait_seconds: float = 20.0) -> ConnectionGate:
    return ConnectionGate(size, wait_seconds=wait_seconds, tenant=lambda: getattr(_tenant, "id", None))


@contextmanager
def as_tenant(tenant_id: str | None) -> Iterator[None]:
    _tenant.id = tenant_id
    try:
        yield
    finally:
        _tenant.id = None


class Caller(threading.Thread):
    """A thread that takes a turn for a tenant, and notes its name when it has it."""

    def __init__(self, gate: ConnectionGate, tenant_id: str | None, name: str, log: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._gate, self._tenant_id, self._log = gate, tenant_id, log
        self.start()

    def run(self) -> None:
        with as_tenant(self._tenant_id), self._gate.take():
            self._log.append(self.name)


def waiting(gate: ConnectionGate) -> int:
    return sum(map(len, gate._waiting.values()))


def test_a_tenant_has_three_quarters_at_most_and_then_waits_for_itself_alone() -> None:
    gate = make(4, wait_seconds=0.01)
    with ExitStack() as held, as_tenant("ten_a"):
        for _ in range(3):
            held.enter_context(gate.take())
        with pytest.raises(TooMany, match="tenant_connections"), gate.take():
            pass
        with as_tenant("ten_b"), gate.take(), pytest.raises(ConnectionsBusy), gate.take():
            pass


def test_what_is_done_for_several_tenants_counts_for_none() -> None:
    gate = make(4, wait_seconds=0.01)
    with ExitStack() as held, as_tenant("ten_a"):
        for _ in range(3):
            held.enter_context(gate.take())
        with gate.take(of_process=True):
            pass


def test_the_process_itself_may_use_all() -> None:
    gate = make(2, wait_seconds=0.01)
    with gate.take(), gate.take(), pytest.raises(ConnectionsBusy), gate.take():
        pass
    with gate.take():
        pass


def test_of_one_connection_each_tenant_may_use_all() -> None:
    gate = make(1)
    for tenant_id in ("ten_a", "ten_b"):
        with as_tenant(tenant_id), gate.take():
            pass


def test_the_tenant_that_holds_the_fewest_is_next_and_within_it_the_oldest() -> None:
    gate, log, callers, other = make(2), list[str](), list[Caller](), ExitStack()
    with as_tenant("ten_c"):
        other.enter_context(gate.take())
    with as_tenant("ten_a"), gate.take():
        for tenant_id, name in (("ten_a", "a1"), ("ten_b", "b1"), ("ten_b", "b2")):
            callers.append(Caller(gate, tenant_id, name, log))
            wait_until(lambda: waiting(gate) == len(callers))
        other.close()
        for caller in callers[1:]:
            caller.join(20)
        assert log == ["b1", "b2"]
    callers[0].join(20)
    assert log == ["b1", "b2", "a1"]
    assert (gate._free, gate._used, gate._waiting) == (2, {}, {})


def test_an_interrupted_wait_leaves_no_place_and_no_turn_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = make(1)

    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    with gate.take():
        monkeypatch.setattr(threading.Event, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt), gate.take():
            pass
        monkeypatch.undo()
    with gate.take():
        pass
    assert (gate._free, gate._used, gate._waiting) == (1, {}, {})
