"""A drained node finishes what runs, takes no more and stays, until it is resumed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.polling import wait_until
from harness.system import System

PLATFORM = {"x-platform-role": "platform-admin"}


def _node(system: System) -> dict[str, Any]:
    (found,) = system.get("/v1/ava/nodes", headers=PLATFORM).json()["data"]
    return dict(found)


def test_a_drained_node_finishes_what_runs_takes_no_more_and_can_be_resumed(system: System) -> None:
    system.start(concurrency=2, environ={"AVA_HANDLERS": "workers.sleep", "AVA_HEARTBEAT_SECONDS": "0.5"})
    running = system.trigger("wkr_sleep", input={"seconds": 60})
    system.wait_for(running["id"], "running")
    node_id = _node(system)["id"]
    assert system.post(f"/v1/ava/nodes/{node_id}/drain").status_code == 403, "a role of a tenant"
    drained = system.post(f"/v1/ava/nodes/{node_id}/drain", headers=PLATFORM).json()["data"]
    assert (drained["state"], drained["drained_by"]) == ("live", "usr_test")
    (process,) = system.workers
    wait_until(lambda: "takes no more jobs" in process.output and _node(system)["queues"] == [], what="it is drained")
    waiting = [system.trigger("wkr_sleep", input={"seconds": 0}) for _ in range(3)]
    # A job that a living node might still take would be explained by its place in the queue.
    for job in waiting:
        wait_until(
            lambda job=job: "no live worker" in system.get(f"/v1/ava/jobs/{job['id']}/why").json()["data"]["sentence"],
            what="no node serves it",
        )
    system.cancel(running["id"])
    system.wait_for(running["id"], "cancelled")
    wait_until(lambda: _node(system)["busy"] == 0, what="the node is idle")
    assert {system.show(job["id"])["status"] for job in waiting} == {"queued"}
    assert process.exit_code is None, "it stays"
    assert system.post(f"/v1/ava/nodes/{node_id}/resume", headers=PLATFORM).json()["data"]["drained_at"] is None
    for job in waiting:
        system.wait_for(job["id"], "completed")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_only_a_node_that_runs_can_be_drained(system: System) -> None:
    system.start(workers=0)
    for node_id in ("node_01h455vb4pex5vsknk084sn02q", "node_x", "\x00"):
        assert system.post(f"/v1/ava/nodes/{node_id}/drain", headers=PLATFORM).status_code in (400, 404)
