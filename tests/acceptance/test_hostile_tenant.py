"""A tenant that attacks in many ways at once ends no process, fills no memory and loses no job of others."""

from __future__ import annotations

import json

from chaos import tenants
from chaos.attacks import ATTACKS, EXPLOSION, Attacker
from harness.polling import wait_until


def test_beside_a_hostile_tenant_an_honest_one_loses_nothing_and_no_process_ends() -> None:
    outcome = tenants.run(4, compares=False)
    assert outcome.failed == [], tenants.table(outcome)
    assert all(outcome.attacks[name] for name in ATTACKS), tenants.table(outcome)


def test_a_graph_whose_outputs_explode_fails_and_delays_no_graph_of_others() -> None:
    with tenants.honest_tenant() as (honest, _, log):
        attacker = Attacker(honest.port, tenants.SECRET, 0)
        status, created = attacker.send("POST", "/v1/ava/jobs/bulk", EXPLOSION)
        assert status == 201, created
        path = f"/v1/ava/jobs/{json.loads(created)['data'][1]['id']}"
        assert honest.run_graph(20) == ["completed", "completed"], log.read_text()

        def error() -> str:
            return json.loads(attacker.send("GET", path)[1])["data"]["error"] or ""

        wait_until(error, seconds=20, what="the graph of the attacker ends")
        assert error().startswith("InputTooLarge: with its outputs it has at least 18000"), error()
        assert "MemoryError" not in log.read_text()
