"""A running system that the tests of a file share, because none of them needs a fresh one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.system import System
from tests.acceptance.witness import Witness


@pytest.fixture(
    scope="module",
    params=[pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)],
)
def module_broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty broker for the tests of a file: all of them run once on Redis and once on RabbitMQ."""
    if request.param == "redis":
        yield fresh_redis_url(request.getfixturevalue("redis_server"))
    else:
        with request.getfixturevalue("rabbitmq_server").virtual_host() as url:
            yield url


@pytest.fixture(scope="module")
def fleet(_databases: Databases, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One node of four processes with `tests.acceptance.handlers`, an API and a dispatcher, for all tests of a file."""
    with _databases.fresh() as database_url:
        system = System(tmp_path_factory.mktemp("fleet"), database_url=database_url, broker_url=module_broker_url)
        try:
            system.start(concurrency=4, environ={"AVA_HANDLERS": "workers,workers.sleep,tests.acceptance.handlers"})
            yield system
        finally:
            system.stop()
        system.assert_clean()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A file in which a handler records what it sees."""
    return Witness(tmp_path / "witness")
