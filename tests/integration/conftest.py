"""Fixtures of the tests of the API: the application in this process, on a fresh database and an empty Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, create_engine

from ava import settings as settings_module
from ava.settings import Settings
from ava.store.engine.database import Connection, Database, driver_url
from ava.store.fleet import workers
from harness.api import Api
from harness.commit_cuts import QUICK, CommitCuts
from harness.servers.pgbouncer import pool_url
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import ENCRYPTION_KEY
from tests.backlog import Backlog, open_backlog, worker_spec
from tests.conftest import UNREACHABLE_DATABASE, with_workers
from tests.graphs import Graphs
from tests.lost_commits import Bench
from tests.pulled import claim, make_key, make_worker


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    """Plain connections to a database."""
    engine = create_engine(driver_url(database_settings.database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def stored(database_settings: Settings) -> Iterator[Backlog]:
    """Jobs alone, and a broker that is out of reach."""
    with open_backlog(database_settings) as backlog:
        yield backlog


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Database]:
    """A database with the workers `wkr_plain` and `wkr_brief`."""
    database = Database.of(database_settings, name="tests", pool_size=12)
    with database.connect() as connection:
        workers.announce(connection, [worker_spec("wkr_plain"), worker_spec("wkr_brief")])
    yield database
    database.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as connection:
        yield connection


@pytest.fixture
def backlog(settings: Settings) -> Iterator[Backlog]:
    """Jobs and messages, on each broker in turn."""
    with open_backlog(settings) as backlog:
        yield backlog


@pytest.fixture
def api_settings(database_url: str, redis_url: str) -> Settings:
    """Settings of an API with two secrets."""
    return _settings(database_url, redis_url)


def _settings(database_url: str, redis_url: str) -> Settings:
    return settings_module.load(
        {
            "DATABASE_URL": database_url,
            "DATABASE_POOL_URL": pool_url(database_url),
            "BROKER_URL": redis_url,
            "AVA_INTERNAL_SECRET": "of-all-the-tests,one-after-the-next",
            "AVA_ENCRYPTION_KEY": ENCRYPTION_KEY,
        }
    )


@pytest.fixture
def api(api_settings: Settings) -> Iterator[Api]:
    """The application, with three workers: `wkr_open` for all, `wkr_theirs` for `ten_other` alone, `wkr_paused`."""
    with Api.running(api_settings) as api:
        yield api


@pytest.fixture
def key(api: Api) -> dict[str, str | None]:
    """A key of the role worker, whose worker `wkr_resize` is live."""
    make_worker(api)
    key = make_key(api)
    assert claim(api, key) == []
    return key


@pytest.fixture(scope="module")
def shared_api(_databases: Databases, redis_server: Server) -> Iterator[Api]:
    """The application that tests of a file share. They find in its database what others of them have left there.

    For the many tests whose responses depend on the request alone: `api` takes 0.1 s of processor time for each.
    """
    with (
        _databases.fresh(is_pooled=True, template=with_workers(_databases)) as database_url,
        Api.running(_settings(database_url, fresh_redis_url(redis_server))) as api,
    ):
        yield api


#: Seconds of a commit that outlasts the pause before the next try.
_LATE = 0.3


@pytest.fixture(params=[QUICK, _LATE], ids=["quick", "slow"])
def cuts(request: pytest.FixtureRequest, database_url: str) -> Iterator[CommitCuts]:
    """A proxy that loses the response of the first commit of each kind, quick or slow."""
    cuts = CommitCuts(database_url, commit_seconds=(request.param,))
    yield cuts
    cuts.close()


@pytest.fixture
def bench(api: Api, api_settings: Settings, cuts: CommitCuts) -> Iterator[Bench]:
    """An application, and what a scenario of lost responses needs."""
    bench = Bench(api, api_settings, cuts)
    with bench.closing:
        yield bench


@pytest.fixture
def graphs(api: Api, api_settings: Settings) -> Graphs:
    """Graphs and trees of the application, whose jobs the test runs."""
    return Graphs(api, api_settings)


@pytest.fixture
def fresh_api(api: Api) -> Api:
    """The application of a test that damages its database, so it must never share one."""
    return api


@pytest.fixture
def api_without_database(api_settings: Settings) -> Iterator[Api]:
    """The application with an unreachable database."""
    with Api.running(
        replace(api_settings, database_url=UNREACHABLE_DATABASE, database_pool_url=""), workers=False
    ) as api:
        yield api
