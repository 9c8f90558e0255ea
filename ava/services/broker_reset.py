"""Recall everything from the broker, after a change of the broker or a restore of the database."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.store.engine.database import Database
from ava.store.fleet import workers
from ava.store.jobs.feed import published
from ava.store.jobs.transitions import recall

#: Maximum time of the recall; it covers the full windows of many queues.
_RECALL_SECONDS = 600.0


def reset(database: Database, publisher: Publisher) -> int:
    """Return every published but unstarted job to the backlog, and delete the messages of the broker's queues.

    The active dispatcher publishes the jobs again. Messages that remain anywhere are refused at the claim, because
    their run number is outdated. Running jobs continue.

    Returns the number of jobs. If the broker is unreachable, its messages stay.
    """
    with database.connect() as connection:
        queues = {*workers.queues(connection), *published.queues(connection)}
    # Delete the messages first: jobs published before that are recalled afterwards.
    for queue in sorted(queues):
        publisher.purge(queue)
    with database.transaction() as connection:
        return recall.recall_all(connection, max_seconds=_RECALL_SECONDS)
