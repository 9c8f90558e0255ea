"""Fixtures of all rings: real servers, started on first use, and the whole system as real processes.

| fixture | value |
|---|---|
| `database_url` | a fresh, migrated PostgreSQL database of its own |
| `redis_url`, `rabbitmq_url` | an empty numbered database of Redis; a virtual host of RabbitMQ |
| `broker_url` | one of these two: the test runs once on each broker |
| `settings` | `Settings` with both; so the test runs once on each broker |
| `database_settings` | `Settings` with that database and an unreachable broker, for tests of the store alone |
| `pooler` | PgBouncer in front of that database, for a test to kill and start again |
| `private_postgres`, `private_redis` | servers of the test's own, which it may stop, kill, pause and start again |
| `serve` | HTTP servers that respond as the test says: see `harness.servers.peer` |
| `system` | the whole system as real processes: see `harness.system.System` |

A test that needs one broker only says `@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)`.
What is tested on RabbitMQ reaches its database through PgBouncer, and so do the API that a file shares and its server.
A missing server program skips the test, and fails it if `CI` is set.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings as hypothesis_settings
from xdist.remote import Producer

from ava import settings as settings_module
from ava.errors import ServerProgramMissing
from ava.settings import Settings
from harness.servers import pgbouncer
from harness.servers.peer import serve  # noqa: F401 - a fixture
from harness.servers.pgbouncer import PgBouncer, pool_url, running_pgbouncer
from harness.servers.postgres import Databases, running_postgres
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.redis import fresh_redis_url, running_redis
from harness.servers.server import Server
from harness.system import System
from tests import quick, turns

# Each test file and each process of a system would be compiled again and again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = ["tests.coverage_total", "tests.closing_lines"]

# No example has a time limit, because a busy machine may pause any of them. Each test has one (pytest-timeout).
hypothesis_settings.register_profile("ava", deadline=None)
#: For another look at the same properties: on the lowest versions of the packages.
hypothesis_settings.register_profile("brief", deadline=None, max_examples=10)
hypothesis_settings.load_profile("ava")

#: An address on which nothing listens: port 1 of this machine.
UNREACHABLE_BROKER = "redis://127.0.0.1:1/0"
UNREACHABLE_DATABASE = "postgresql://ava@127.0.0.1:1/none"


#: The longest value that is a part of a test's id.
_LONGEST_ID = 100

Running = TypeVar("Running")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that are quick: see tests/quick.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: the objects of 7,000 tests stay, and a full pass over them takes 0.3 s.

    They are not frozen as in a process of the product: Hypothesis 6.120 asks the collector who refers to its random
    numbers, which it does where CI is set, and nothing frozen is in the answer.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Collect what is left once. pytest then does so five times, for 0.4 s each, and finds only what came after it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        quick.deselect(items, config)
    # After pytest-randomly has shuffled them.
    turns.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> turns.Scheduling | None:
    return turns.Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    # As pytest 9 does: an id of megabytes would go from each tester to the controller with every report.
    return argname if isinstance(val, (str, bytes)) and len(val) > _LONGEST_ID else None


@contextmanager
def available(server: AbstractContextManager[Running]) -> Iterator[Running]:
    """A running server. If its programs are missing the test is skipped, or fails in CI."""
    try:
        running = server.__enter__()
    except ServerProgramMissing as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The PostgreSQL that all tests share; a test that stops or kills one uses `private_postgres`."""
    with available(running_postgres(in_memory=True)) as server:
        migrate(server.url)
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """The Redis that all tests share; a test that stops or kills one uses `private_redis`."""
    with available(running_redis()) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """The RabbitMQ that all tests share."""
    with available(running_rabbitmq()) as server:
        yield server


@pytest.fixture(scope="session")
def _databases(postgres_server: Server) -> Iterator[Databases]:
    with _pooler_if_installed(postgres_server) as pooler:
        databases = Databases(postgres_server, pooler)
        yield databases
        databases.close()


@pytest.fixture
def database_url(_databases: Databases, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database, dropped afterwards. What runs on RabbitMQ reaches it through PgBouncer."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    template = with_workers(_databases) if "api_settings" in request.fixturenames else "ava"
    with _databases.fresh(is_pooled=is_pooled(request.node, parameters.get("broker_url")), template=template) as url:
        yield url


def with_workers(databases: Databases) -> str:
    """Returns the template of the tests of the API, which has the workers of `Api.running`."""
    # Imported here: unit tests need no API.
    from harness.api import announce_workers

    return databases.template("ava_workers", announce_workers)


def is_pooled(tests: pytest.Item | pytest.Collector, broker: str | None) -> bool:
    """Returns whether a test, or the tests of a file, reach their database through PgBouncer: those on RabbitMQ.

    So each test on both brokers goes through the pool once. The API does as well (`shared_api`), and its tests of the
    server. Elsewhere each statement would be planned anew, for a fifth of an idle system's processor time.
    """
    if tests.get_closest_marker("needs_session"):
        return False
    return broker is not None and broker.startswith(("rabbitmq", "amqp"))


def _pooler_if_installed(server: Server) -> AbstractContextManager[PgBouncer | None]:
    """PyPI has no PgBouncer, so at home tests run without one."""
    try:
        pgbouncer.program()
    except ServerProgramMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        return nullcontext()
    return running_pgbouncer(server.url)


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """An empty numbered database of Redis."""
    return fresh_redis_url(redis_server)


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """A virtual host of RabbitMQ, deleted afterwards."""
    with rabbitmq_server.virtual_host() as url:
        yield url


@pytest.fixture(
    params=[pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
)
def broker_url(request: pytest.FixtureRequest) -> str:
    """An empty broker: the test runs once on Redis and once on RabbitMQ."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def settings(database_url: str, broker_url: str) -> Settings:
    """Settings of a fresh database and an empty broker."""
    return _settings(database_url, broker_url)


@pytest.fixture
def database_settings(database_url: str) -> Settings:
    """Settings of a fresh database and an unreachable broker."""
    return _settings(database_url, UNREACHABLE_BROKER)


@pytest.fixture
def private_postgres() -> Iterator[Server]:
    """A migrated PostgreSQL of the test's own, which it may stop, kill, pause and start again."""
    with available(running_postgres(in_memory=True)) as server:
        migrate(server.url)
        yield server


@pytest.fixture
def pooler(database_url: str) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode in front of the test's database, with at most 20 server connections."""
    with available(running_pgbouncer(database_url)) as running:
        yield running


@pytest.fixture
def private_redis() -> Iterator[Server]:
    """A Redis of the test's own, which it may stop, kill, pause and start again."""
    with available(running_redis()) as server:
        yield server


@pytest.fixture
def system(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[System]:
    """The whole system as real processes, not started yet: `system.start(workers=2, environ={…})`.

    Like `settings` it runs the test once on each broker; a test with its own servers names them:
    `system.start(database_url=…, broker_url=…)`. The API has one process, unless the test sets
    `system.api_processes` before the start. Afterwards everything is stopped; the test fails if a process is
    left, or if an output has a traceback that the test did not expect (`system.expects_traceback = True`).
    """
    system = System(tmp_path, database_url=database_url, broker_url=broker_url, api_processes=1)
    try:
        yield system
    finally:
        system.stop()
    system.assert_clean()


def _settings(database_url: str, broker_url: str) -> Settings:
    return settings_module.load(
        {
            "DATABASE_URL": database_url,
            "DATABASE_POOL_URL": pool_url(database_url),
            "BROKER_URL": broker_url,
            "AVA_INTERNAL_SECRET": "of-all-the-tests",
        }
    )


def migrate(database_url: str) -> None:
    """Migrate a server's database."""
    # Imported here: unit tests need no database code.
    from ava.store.engine import schema

    schema.upgrade(_settings(database_url, UNREACHABLE_BROKER))
