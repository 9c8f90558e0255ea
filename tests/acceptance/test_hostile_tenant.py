"""A tenant that attacks in many ways at once ends no process, fills no memory and loses no job of others."""

from __future__ import annotations

from chaos import tenants
from chaos.attacks import ATTACKS


def test_beside_a_hostile_tenant_an_honest_one_loses_nothing_and_no_process_ends() -> None:
    outcome = tenants.run(4, compares=False)
    assert outcome.failed == [], tenants.table(outcome)
    assert all(outcome.attacks[name] for name in ATTACKS), tenants.table(outcome)
