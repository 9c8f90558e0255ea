"""A job whose message came to a node that cannot run it now: the dispatcher publishes it again without a wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ava.dispatcher.window import WindowFeed
from ava.settings import Settings
from ava.store.engine.notices import Notices
from ava.store.jobs import client_moves
from harness.polling import wait_until
from tests.backlog import Backlog, open_backlog

pytestmark = pytest.mark.needs_session

#: Seconds that the dispatcher waits here unless it is woken.
_WAIT_SECONDS = 30.0


@pytest.fixture
def backlog(settings: Settings) -> Iterator[Backlog]:
    with open_backlog(settings) as backlog:
        backlog.join()
        yield backlog


@pytest.fixture
def feed(backlog: Backlog) -> Iterator[WindowFeed]:
    notices = Notices(backlog.settings.database_url)
    feed = WindowFeed(backlog.database, backlog.publisher, window=2000, node_dead_seconds=14, notices=notices)
    # It listens from now on.
    feed.wait(0)
    feed.run_once(0)
    yield feed
    notices.close()


def _return(backlog: Backlog, *job_ids: str) -> None:
    with backlog.database.connect() as connection:
        client_moves.return_to_backlog(connection, job_ids)


def test_a_job_that_a_node_returns_wakes_the_dispatcher_which_publishes_it(backlog: Backlog, feed: WindowFeed) -> None:
    (urgent,) = backlog.insert(is_published=True, priority=1)
    began = time.monotonic()
    _return(backlog, urgent.id)
    assert backlog.count("published_at IS NULL") == 1
    feed.wait(_WAIT_SECONDS)
    assert time.monotonic() - began < _WAIT_SECONDS / 3
    wait_until(lambda: feed.run_once(0) == 1, what="it is published")
    backlog.await_messages(1)
    assert backlog.count("published_at IS NOT NULL") == 1


def test_a_job_that_has_started_is_not_returned_and_wakes_nothing(backlog: Backlog, feed: WindowFeed) -> None:
    (job,) = backlog.insert(is_published=True)
    assert backlog.claim(job)
    _return(backlog, job.id)
    began = time.monotonic()
    feed.wait(0.3)
    assert time.monotonic() - began >= 0.3
    assert backlog.count("status = 'running'") == 1
