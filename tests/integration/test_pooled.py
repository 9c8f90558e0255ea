"""The tests of runs once more, through PgBouncer in transaction mode; `make test-pooled` runs all tests that way.

A run is claimed, fenced and ended by the statements that are prepared where each connection has a session of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ava.settings import Settings
from harness.servers.pgbouncer import pooled
from harness.servers.server import Server
from tests.conftest import available
from tests.integration.test_runs import *  # noqa: F403 - each test of it


@pytest.fixture(scope="module", autouse=True)
def _pooler(postgres_server: Server) -> Iterator[None]:
    with available(pooled(postgres_server.url)):
        yield


def test_they_go_through_the_pooler(database_settings: Settings) -> None:
    assert database_settings.database_pool_url
