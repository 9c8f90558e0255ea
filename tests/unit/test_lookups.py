"""Name look-ups: the slow resolver of one tenant's names does not stop those of others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ava.outbound.connections import Lookups
from ava.outbound.guarded_socket import Deadline
from harness.polling import wait_until

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that answers for names of `slow.example` only when the event is set."""
    answers = threading.Event()

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host.endswith("slow.example"):
            answers.wait(30)
        return ANSWER

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answers
    answers.set()


def _resolve(lookups: Lookups, host: str, owner: str, *, seconds: float = 0.05) -> list[Any]:
    return lookups.resolve(host, 443, Deadline.after(seconds), owner=owner)


def _threads_begun() -> Callable[[], set[threading.Thread]]:
    """Returns a function that returns the threads that were begun since this call."""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


def test_the_lookups_of_one_tenant_are_limited_until_its_resolver_responds(silence: threading.Event) -> None:
    lookups = Lookups(max_lookups=10, max_of_owner=3)
    begun = _threads_begun()
    for number in range(8):
        with pytest.raises(TimeoutError):
            _resolve(lookups, f"{number}.slow.example", "ten_a")
    assert len(begun()) == 3
    assert _resolve(lookups, "example.com", "ten_b", seconds=30) == ANSWER
    silence.set()
    wait_until(lambda: not begun())
    assert _resolve(lookups, "0.slow.example", "ten_a", seconds=30) == ANSWER


def test_all_lookups_together_are_limited(silence: threading.Event) -> None:
    lookups = Lookups(max_lookups=4, max_of_owner=3)
    begun = _threads_begun()
    for number in range(9):
        with pytest.raises(TimeoutError):
            _resolve(lookups, "slow.example", f"ten_{number}")
    assert len(begun()) == 4
    silence.set()
    wait_until(lambda: not begun())
