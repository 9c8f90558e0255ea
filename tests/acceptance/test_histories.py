"""Random histories under kills, on one broker for less than a minute; `make chaos` runs them on both, and longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.cluster import Cluster, open_cluster
from chaos.fault import Fault
from chaos.faults import histories
from chaos.result import evaluate
from harness.servers.server import private_folder

pytestmark = [
    pytest.mark.redis,
    pytest.mark.long(
        kept_by="tests/acceptance/test_faults.py::test_faults_in_a_row_lose_nothing_and_run_nothing_twice_at_once"
    ),
]
#: Other test files run beside this one on two cores, so few histories begin; a dead node is found sooner than usual.
_MINUTES, _PER_SECOND = "0.6", "1.0"
_ENVIRON = {"AVA_NODE_DEAD_SECONDS": "6", "AVA_HEARTBEAT_SECONDS": "1"}
(FAULT,) = histories.FAULTS


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv(histories.MINUTES, _MINUTES)
    monkeypatch.setenv(histories.RATE, _PER_SECOND)
    plan = histories.plan(_ENVIRON)
    with private_folder() as folder, open_cluster("redis", folder, jobs=0, per_second=1, plan=plan) as cluster:
        yield cluster


def test_random_histories_under_kills_keep_every_rule_of_the_contract(cluster: Cluster) -> None:
    fault: Fault = FAULT
    injury = fault.inject(cluster)
    result = evaluate(cluster, fault, injury)
    assert not result.broken, "\n".join(result.broken)
    assert (result.lost, result.invented, result.twice) == (0, 0, 0), result
    # A load that does nothing keeps every rule.
    assert result.finished > 100, result
