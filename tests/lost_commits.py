"""Work through a proxy that loses the responses of commits, repeated as its caller repeats it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from ava.broker.control import Control
from ava.errors import DatabaseUnavailable
from ava.settings import Settings
from ava.store.engine.database import Database
from harness.api import Api
from harness.commit_cuts import CommitCuts
from harness.polling import wait_until
from tests.backlog import open_backlog

Result = TypeVar("Result")
#: The rows of each table, as text.
Tables = Mapping[str, list[str]]

_TRIES, _PAUSE_SECONDS = 200, 0.05
_OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
"""


@contextmanager
def through(cuts: CommitCuts) -> Iterator[Database]:
    """A database that a process reaches through the proxy."""
    database = Database(cuts.url, name="tests")
    try:
        yield database
    finally:
        database.close()


def insist(act: Callable[[], Result]) -> Result:
    """Call `act` again while the database is unavailable, as the dispatcher does. Returns the last result."""
    for _ in range(_TRIES):
        with suppress(DatabaseUnavailable):
            return act()
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the database stayed unavailable")


def settle(database: Database) -> None:
    """Wait for the slow commits that are under way."""
    with database.connect() as connection:
        wait_until(lambda: connection.exec_driver_sql(_OPEN_TRANSACTIONS).scalar() == 0, what="no transaction is open")


def read_tables(database: Database) -> Tables:
    """Returns the rows of every table."""
    with database.connect() as connection:
        names = connection.exec_driver_sql(_TABLES).scalars().all()
        return {
            name: sorted(connection.exec_driver_sql(f"SELECT t::text FROM {name} AS t").scalars()) for name in names
        }


def cut_statements(cuts: CommitCuts) -> set[str]:
    """Returns the names of the statements whose transactions were cut."""
    return {name for kind in cuts.cut for name in kind}


class Bench:
    """An application, and what a scenario reaches through the proxy."""

    def __init__(self, api: Api, settings: Settings, cuts: CommitCuts) -> None:
        self.api = api
        self.cuts = cuts
        #: The settings of the processes whose responses are lost.
        self.settings = replace(settings, database_url=cuts.url, database_pool_url="")
        self.closing = ExitStack()
        self.database = self.closing.enter_context(through(cuts))
        self.stored = self.closing.enter_context(open_backlog(settings))
        self.publisher, self.control = self.stored.publisher, Control(self.stored.app)

    @cached_property
    def cut_api(self) -> Api:
        """The application whose responses are lost."""
        return self.closing.enter_context(Api.running(self.settings, workers=False))

    def repeat(self, act: Callable[[], object]) -> None:
        """Repeat `act` until a call loses no response, after all commits of earlier calls."""
        cut = -1
        while cut != (cut := len(self.cuts.cut)):
            insist(act)
            self.settle()

    def call(self, method: str, path: str, **rest: Any) -> tuple[int, int]:
        """Send a request until its response is none of an outage. Returns the first status and the last."""
        statuses: list[int] = []
        while not statuses or (statuses[-1] == 503 and len(statuses) < _TRIES):
            time.sleep(_PAUSE_SECONDS if statuses else 0)
            statuses.append(self.cut_api.request(method, path, **rest).status_code)
        self.settle()
        return statuses[0], statuses[-1]

    def settle(self) -> None:
        """Wait for the slow commits that are under way. The next call then reaches the server."""
        settle(self.api.database)
        self.database.forget_silence()

    def subscribe(self, *types: str) -> str:
        """Create a webhook for types of events. Returns its id."""
        body = {"url": "https://example.com/", "events": list(types), "secret": "s3cret-of-the-tests"}
        response = self.api.post("/v1/webhooks", json=body)
        assert response.status_code == 201, response.text
        webhook_id: str = response.get_json()["data"]["id"]
        return webhook_id

    def only(self, query: str, *parameters: Any) -> Any:
        """Returns the only column of the only row of a query."""
        ((found,),) = self.api.execute(query, *parameters)
        return found


Scenario = Callable[[Bench], None]


class Scenarios(dict[Scenario, frozenset[str]]):
    """Scenarios, each with the statements whose transactions lose their response in it."""

    def cuts(self, *names: str) -> Callable[[Scenario], Scenario]:
        """Add the decorated scenario."""

        def add(scenario: Scenario) -> Scenario:
            self[scenario] = frozenset(names)
            return scenario

        return add

    def run(self, scenario: Scenario, bench: Bench) -> None:
        """Run a scenario, and check that responses were lost."""
        scenario(bench)
        assert self[scenario] - cut_statements(bench.cuts) == set(), list(bench.cuts.cut)


def name_of(scenario: Scenario) -> str:
    """Returns the name of a scenario in the id of its test."""
    return scenario.__name__.strip("_")
