"""Ask nodes to stop running jobs after their cancel is stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ava.broker.control import Control
from ava.domain.jobs.job import Job, Status
from ava.errors import BrokerUnavailable
from ava.store.engine.database import Database
from ava.store.fleet import nodes


def revoke_all(database: Database, control: Control, cancelled: Sequence[Job]) -> None:
    """Ask the nodes of the running jobs to stop them."""
    running = [job for job in cancelled if job.status is Status.RUNNING]
    if not running:
        return
    with database.connect() as connection:
        names = nodes.names_of(connection, {job.node_id for job in running if job.node_id})
    for node_id, name in names.items():
        runs = [job.run for job in running if job.node_id == node_id]
        with suppress(BrokerUnavailable):
            # Nodes that miss the message read the cancel from the database.
            control.revoke_all(runs=runs, node_name=name)
