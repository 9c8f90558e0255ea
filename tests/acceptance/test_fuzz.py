"""The short form of `python -m chaos.fuzz`."""

from __future__ import annotations

import pytest

from chaos.fuzz import ENVIRON, fuzz, fuzz_large
from harness.system import System


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_requests_as_nobody_should_send_them_break_nothing(system: System) -> None:
    system.start(environ=ENVIRON)
    found = fuzz(system, requests=400, seed="of-the-tests")
    assert found.faults == []
    assert sum(found.statuses.values()) == 400
    assert found.jobs > 5
    assert {200, 201, 400, 401, 403, 404, 405, 415, 422} <= set(found.statuses)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_large_bodies_break_nothing(system: System) -> None:
    system.start(environ=ENVIRON)
    # The long form also judges memory.
    found = fuzz_large(system, requests=30, seed="of-the-tests")
    assert found.faults == []
    assert {413, 422} <= set(found.statuses) <= {201, 400, 413, 422}
