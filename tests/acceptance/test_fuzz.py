"""The short form of `python -m chaos.fuzz`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.fuzz import ENVIRON, fuzz, fuzz_large
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import System
from tests.acceptance.conftest import running_system

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def shared(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system of both tests."""
    folder, broker_url = tmp_path_factory.mktemp("fuzz"), fresh_redis_url(redis_server)
    with _databases.fresh(is_pooled=True) as url, running_system(folder, url, broker_url, environ=ENVIRON) as system:
        yield system


@pytest.fixture
def running(shared: System) -> System:
    """The same, without what the other test has made: each counts all rows."""
    shared.query("TRUNCATE jobs, job_logs, job_tags, idempotency_keys, webhook_endpoints, bulk_operations CASCADE")
    return shared


def test_requests_as_nobody_should_send_them_break_nothing(running: System) -> None:
    found = fuzz(running, requests=400, seed="of-the-tests")
    assert found.faults == []
    assert sum(found.statuses.values()) == 400
    assert found.jobs > 5
    assert {200, 201, 400, 401, 403, 404, 405, 415, 422} <= set(found.statuses)


def test_large_bodies_break_nothing(running: System) -> None:
    # The long form also judges memory.
    found = fuzz_large(running, requests=30, seed="of-the-tests")
    assert found.faults == []
    assert {413, 422} <= set(found.statuses) <= {201, 400, 413, 422}
