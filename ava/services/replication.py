"""`Durability: replicated`: respond to a trigger once a synchronous standby has applied its jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ava.domain.jobs.job import Job
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Database
from ava.store.jobs import replication

#: Pauses between polls.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.1


class NotReplicated(DatabaseUnavailable):
    """The jobs are stored, but no synchronous standby has applied them in time; send the same Idempotency-Key again."""


class Replication:
    """Waits for synchronous standbys.

    PostgreSQL's own wait at the commit is not sufficient: it ends without an error if the statement is cancelled or the
    names of the standbys are removed, and it never ends if the standby is unreachable. So jobs are stored as usual, and
    then `pg_stat_replication` shows whether they were applied.
    """

    #: Timeout in seconds for standbys to apply jobs.
    max_seconds = 5.0

    def __init__(self, database: Database) -> None:
        self._database = database

    def require(self) -> None:
        """Raise `NotReplicated` if too few synchronous standbys are connected, so that nothing is stored."""
        with self._database.connect() as connection:
            standbys = replication.read_standbys(connection)
        if not standbys.required:
            raise NotReplicated(
                "PostgreSQL has no synchronous standby (synchronous_standby_names is empty), so no job can be "
                "stored with Durability: replicated; omit the header, or set up a synchronous standby."
            )
        if not standbys.may_read:
            raise NotReplicated(
                "The role of DATABASE_URL may not see the standbys, so no job can be stored with Durability: "
                "replicated; an operator must grant it pg_read_all_stats."
            )
        if standbys.found < standbys.required:
            raise NotReplicated(
                f"{standbys.found} of {standbys.required} synchronous standbys are connected, so no job can be "
                "stored with Durability: replicated now; try again shortly."
            )

    def confirm(self, jobs: Sequence[Job]) -> None:
        """Wait until synchronous standbys have applied the jobs. Raise `NotReplicated` after `max_seconds`."""
        deadline, pause = time.monotonic() + self.max_seconds, _FIRST_PAUSE_SECONDS
        keys = [job.key for job in jobs]
        position: replication.Position | None = None
        while True:
            with self._database.connect() as connection:
                # After a failover the new primary may lack the jobs, and its log has other positions.
                position = position or replication.position_of_jobs(connection, keys)
                state = replication.is_applied(connection, position) if position else None
            if state:
                return
            if state is None:
                position = None
            if time.monotonic() >= deadline:
                raise NotReplicated
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
