"""A running system that the tests of a file share, because none of them needs a fresh one."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.polling import wait_until
from harness.servers.postgres import Databases, running_postgres
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import System
from tests.acceptance.witness import Witness
from tests.conftest import available, is_pooled, migrate

HANDLERS = "workers,workers.sleep,tests.acceptance.handlers,tests.acceptance.secret_handlers"


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


#: For tests of what the broker has no part in.
on_redis = pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)


@pytest.fixture(scope="module")
def module_database_url(_databases: Databases, module_broker_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database for the tests of a file."""
    broker = "redis" if module_broker_url.startswith("redis") else "rabbitmq"
    with _databases.fresh(is_pooled=is_pooled(request.node, broker)) as url:
        yield url


@contextmanager
def running_system(folder: Path, database_url: str, broker_url: str, **start: Any) -> Iterator[System]:
    """A system with one API process that was started with `start`, and that leaves nothing behind."""
    system = System(folder, database_url=database_url, broker_url=broker_url, api_processes=1)
    try:
        system.start(**start)
        yield system
    finally:
        system.stop()
    system.assert_clean()


def assert_failed_by_intent(found: Mapping[str, Any], expected: Iterable[str], output: str) -> None:
    """Check the outcomes of another project's own tests: those with a reason have failed, and no others."""
    assert (found.get("failed"), found.get("unexpected"), found.get("skipped")) == ([], [], []), output
    # A test with subtests is reported with each of them.
    assert {name for name, _ in found["expected"]} == set(expected)


@pytest.fixture(scope="module")
def fleet(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One node of four processes with `tests.acceptance.handlers`, an API and a dispatcher, for all tests of a file."""
    start = {"concurrency": 4, "environ": {"AVA_HANDLERS": HANDLERS}}
    with running_system(tmp_path_factory.mktemp("fleet"), module_database_url, module_broker_url, **start) as system:
        yield system


@pytest.fixture(scope="module")
def _without_nodes(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """An API and a dispatcher for all tests of a file."""
    with running_system(tmp_path_factory.mktemp("system"), module_database_url, module_broker_url, workers=0) as system:
        yield system


@pytest.fixture
def nodes(_without_nodes: System) -> Iterator[System]:
    """A running API and dispatcher and a tenant of the test's own, which starts its nodes: `nodes.start_nodes(2)`.

    For tests that stop or kill nodes alone: it costs a third of `system`. Afterwards the nodes are stopped; the test
    fails if a process of theirs is left.
    """
    system = _without_nodes
    system.session.headers["x-tenant-id"] = f"ten_{uuid.uuid4().hex}"
    yield system
    assert system.post("/v1/ava/jobs/cancel", json={"filter": {"created_after": "2020-01-01T00:00:00Z"}}).ok
    stopped, system.workers = system.workers, []
    for node in stopped:
        node.send(signal.SIGCONT)
        node.send(signal.SIGTERM)
    for node in stopped:
        if not node.child.wait(15):
            node.child.kill()
    others = [process for process in system.processes if process not in stopped]
    remaining = {process.pid for process in others} | {child.pid for process in others for child in process.children}
    wait_until(
        lambda: {process.pid for process in system.leftovers()} <= remaining, what="no process of a node is left"
    )


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Server]:
    """A migrated PostgreSQL for the tests of a file, which stop it and start it again."""
    with available(running_postgres(in_memory=True)) as server:
        migrate(server.url)
        yield server


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A file in which a handler records what it sees."""
    return Witness(tmp_path / "witness")
