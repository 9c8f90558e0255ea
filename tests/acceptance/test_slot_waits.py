"""Durable calls of runs in slots: waits, outputs of children, and calls that are not awaited."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.slot_system import running_slots

# The journal is in the database.
pytestmark = on_redis


@pytest.fixture(scope="module")
def slots(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node with one pool process and a slot process of 40 slots, for all tests of the file."""
    with running_slots(tmp_path_factory.mktemp("slots"), module_database_url, module_broker_url) as system:
        yield system


def test_a_durable_wait_holds_no_slot(slots: System) -> None:
    job_id = slots.trigger("wkr_slot_wait")["id"]
    record = slots.wait_for(job_id)
    assert (record["status"], record["output"]) == ("completed", [1, 2]), record
    assert "Handler continues" in slots.messages(job_id)


def test_a_handler_returns_what_its_map_returned(slots: System) -> None:
    record = slots.wait_for(slots.trigger("wkr_slot_returns_outputs")["id"], seconds=60)
    assert [output["number"] for output in record["output"]] == list(range(120))


def test_a_forgotten_await_fails_the_run_with_the_name_of_the_call(slots: System) -> None:
    record = slots.wait_for(slots.trigger("wkr_slot_forgets_await")["id"])
    assert record["status"] == "failed"
    assert record["error"].startswith("CallNotAwaited: env.step('pay') was not awaited")
