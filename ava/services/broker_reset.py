"""Everything that is in the broker is called back, after a change of the broker or a restore of the database."""

from __future__ import annotations

from ava.broker.publisher import Publisher
from ava.store.engine.database import Database
from ava.store.fleet import workers
from ava.store.jobs.feed import published
from ava.store.jobs.moves import recall

#: Seconds that the recall of full windows of many queues may take.
_RECALL_SECONDS = 600.0


def reset(database: Database, publisher: Publisher) -> int:
    """Return every published job that has not started to the backlog, and delete the messages of the broker's queues.

    The active dispatcher publishes the jobs anew. A message that is left in this broker, in another one or in a node's
    memory is refused at the claim, because its run's number is no longer the job's. Jobs that run go on.

    Returns the number of jobs. Raises `DatabaseUnavailable`. If the broker is out of reach, its messages stay.
    """
    with database.connect() as connection:
        queues = {*workers.queues(connection), *published.queues(connection)}
    # The messages are deleted first: what is published before is in the rows that are recalled afterwards.
    for queue in sorted(queues):
        publisher.purge(queue)
    with database.transaction() as connection:
        return recall.recall_all(connection, max_seconds=_RECALL_SECONDS)
