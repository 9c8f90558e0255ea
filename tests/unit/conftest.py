"""Fixtures for the tests of handlers and of the process that calls them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ava.handler import registry
from ava.handler.env import leave
from tests.unit.process_states import NewState, process_state


@pytest.fixture(autouse=True)
def _handlers_left() -> None:
    """A test that calls a handler as a node does leaves no other test in the place of a handler."""
    leave()


@pytest.fixture
def private_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a node that may call this machine."""
    monkeypatch.setenv("AVA_WEBHOOK_ALLOW_PRIVATE", "1")


@pytest.fixture
def private_refused(private_allowed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a node in production; it overrides a module that allows private addresses."""
    monkeypatch.delenv("AVA_WEBHOOK_ALLOW_PRIVATE")


@pytest.fixture
def new_state() -> Iterator[NewState]:
    """Returns the state when the test asks for it, because pytest replaces the streams after the set-up."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(process_state())


@pytest.fixture
def restored_registry() -> Iterator[None]:
    """The workers that a test declares are forgotten after it."""
    before = dict(registry._handlers)
    yield
    registry._handlers.clear()
    registry._handlers.update(before)
