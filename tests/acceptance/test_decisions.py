"""A timeout that a handler has seen holds in each later run of the attempt, whatever is refused or killed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.ids import uuids
from tests.acceptance.witness import Witness

# Decisions are in the database.
pytestmark = on_redis


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of two processes and a slot process."""
    environ = {"AVA_HANDLERS": "tests.acceptance.decision_handlers"}
    folder = tmp_path_factory.mktemp("decisions")
    with running_system(folder, module_database_url, module_broker_url, workers=0, environ=environ) as running:
        running.start_worker("--slots", "10", concurrency=2)
        yield running


@pytest.mark.parametrize("how", ["killed", "refused"])
@pytest.mark.parametrize(
    ("worker", "wait"),
    [
        ("wkr_d_order", "child"),
        ("wkr_d_order", "event"),
        ("wkr_d_slot_order", "child"),
        ("wkr_d_slot_order", "event"),
        ("wkr_d_slot_order", "branch"),
    ],
)
def test_an_order_is_refunded_or_shipped_and_never_both(
    system: System, witness: Witness, worker: str, wait: str, how: str
) -> None:
    gate = witness.path.with_suffix(".gate")
    data = {**witness.input, "gate": str(gate), "wait": wait, "how": how}
    job_id = system.trigger(worker, input=data)["id"]
    witness.wait_for("refund", seconds=30)
    # The child ends and the event arrives before the next run.
    wait_until(gate.exists, what="the packing may end")
    event = {"type": "d.packed", "data": {"order": str(gate)}}
    assert system.post("/v1/ava/events", json=event).status_code == 201
    job = system.wait_for(job_id, "completed", seconds=60)
    assert set(witness.words) == {"refund"}
    assert job["attempt"] == 1
    losses = system.query("SELECT losses FROM jobs WHERE id = ANY(%s::uuid[])", uuids([job_id]))
    assert losses == [(int(how == "killed"),)]
