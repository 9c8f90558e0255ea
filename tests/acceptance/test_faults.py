"""A part of the fault suite: several faults in a row under one load, on RabbitMQ; `make chaos` runs all on both.

test_histories.py kills processes on Redis, and test_outages.py stops its servers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ava.errors import ServerProgramMissing
from chaos import effects
from chaos.cluster import Cluster, Plan, open_cluster
from chaos.effects import Effect
from chaos.faults import fault_named
from chaos.result import evaluate
from harness.servers.server import private_folder

_JOBS = 300
#: A node counts as dead sooner than by default, so that the test is shorter.
_ENVIRON = {"AVA_NODE_DEAD_SECONDS": "5", "AVA_HEARTBEAT_SECONDS": "1"}
_FAULTS = (
    "kill -9 of a child",
    "broker wiped",
    "kill -9 of the active dispatcher",
    "kill -9 of the API in the middle of requests",
    "kill -9 of a node",
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    try:
        with (
            private_folder() as folder,
            open_cluster("rabbitmq", folder, jobs=_JOBS, per_second=20, plan=Plan(environ=_ENVIRON)) as cluster,
        ):
            yield cluster
    except ServerProgramMissing as missing:
        # Only outside CI may a missing server skip the test.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))


@pytest.mark.rabbitmq
def test_faults_in_a_row_lose_nothing_and_run_nothing_twice_at_once(cluster: Cluster) -> None:
    cluster.load.start()
    injuries = {}
    for name in _FAULTS:
        injuries[name] = fault_named(name).inject(cluster)
        time.sleep(0.5)
    cluster.postgres.kill()
    cluster.postgres.start()
    cluster.load.finish()
    for name, injury in injuries.items():
        result = evaluate(cluster, fault_named(name), injury)
        assert result.accepted >= _JOBS, result
        assert (result.lost, result.invented, result.twice, result.untrue, result.failed) == (0, 0, 0, 0, 0), result
        # `make chaos` measures how long each recovery takes; here each must only have happened.
        assert result.recovery_seconds is not None, result


def test_overlapping_runs_are_found_in_the_effects(tmp_path: Path) -> None:
    path = tmp_path / "effects"
    for run, kind, at in (("1.1", "begin", 1.0), ("2.1", "begin", 2.0), ("1.1", "tick", 3.0), ("2.1", "done", 4.0)):
        effects.append(str(path), Effect(job_id="job_a", run=run, kind=kind, at=at))
    for run, kind, at in (("1.2", "begin", 5.0), ("1.2", "tick", 6.0), ("2.2", "begin", 7.0), ("2.2", "done", 8.0)):
        effects.append(str(path), Effect(job_id="job_b", run=run, kind=kind, at=at))
    assert effects.overlapping(effects.runs(effects.read(path))) == ["job_a"]
