"""Write the outcomes of a dead slot process's runs, in a separate process while its replacement starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from ava.domain.jobs.job import RunKey
from ava.domain.worker import OnWorkerLost
from ava.errors import DatabaseUnavailable, StartError
from ava.handler import registry
from ava.node.parent.run_rescue import rescue_runs
from ava.node.parent.tracked_run import DeadProcess
from ava.node.run_board import CurrentRun, Phase
from ava.node.runs.run_writer import HOLD_SECONDS, persist
from ava.node.slots.member import LateRun
from ava.settings import Settings
from ava.store.engine import timeouts
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.jobs.moves import claim, rescue

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_REPLACED = "its slot process was replaced"
#: Maximum seconds of retrying a write while the node ends and the database is unreachable.
_ENDING_SECONDS = 5.0


def write_off(
    settings: Settings, node_id: str, pid: int, late: Sequence[LateRun] | None, is_ending: Callable[[], bool]
) -> None:
    """Rescue the runs of a dead process, and mark its node as stopped. Retries while the database is unreachable.

    `late`: the runs in its exit report, which end as they were stopped; the others return to the queue without a loss.
    None: there is no exit report, so the dispatcher rescues all runs as lost with their node. The dispatcher also does
    that if the node `is_ending` and the database is unreachable.
    """
    timeouts.install_for_threads()
    writer = _Writer(Database.of(settings, name="node", pool_size=1), is_ending)
    try:
        if late is not None:
            _rescue(writer, settings, node_id, pid, late)
        writer.write(lambda c: nodes.deregister(c, node_id))
    except DatabaseUnavailable:
        _log.warning("Node: the database is unreachable, the dispatcher rescues the runs of the dead process")


class _Writer:
    """Writes, with retries, during a database outage."""

    def __init__(self, database: Database, is_ending: Callable[[], bool]) -> None:
        self._database = database
        self._is_ending = is_ending

    def write(self, act: Callable[[Connection], Result]) -> Result:
        """Call `act` with a connection. Returns its result. Raises `DatabaseUnavailable`."""

        def attempt() -> Result:
            with self._database.connect() as connection:
                return act(connection)

        return persist(attempt, lambda: _ENDING_SECONDS if self._is_ending() else HOLD_SECONDS)


def _rescue(writer: _Writer, settings: Settings, node_id: str, pid: int, late: Sequence[LateRun]) -> None:
    try:
        registry.load(settings.handler_modules)
    except StartError as error:
        _log.warning("Handlers are not known to the rescue of their runs: %s", error)
    for each in late:
        writer.write(lambda c, each=each: _end(c, node_id, pid, each))  # type: ignore[misc]
    for run in writer.write(lambda c: nodes.runs_of(c, node_id)):
        writer.write(lambda c, run=run: _return(c, node_id, run))  # type: ignore[misc]


def _end(connection: Connection, node_id: str, pid: int, late: LateRun) -> None:
    """End a run as it was stopped. A run that was not stopped has blocked the process, and is lost."""
    current = CurrentRun(
        key=late.run,
        phase=Phase.RUNNING,
        claim_id=late.claim_id,
        began_ns=late.began_ns,
        timeout_seconds=late.timeout_seconds,
    )
    process = DeadProcess(pid=pid, current=current, stop=late.stop)
    error = "WorkerLost: it blocked its slot process, which was replaced"
    rescue_runs(connection, [late.run], process, node_id=node_id, error=error)


def _return(connection: Connection, node_id: str, run: RunKey) -> None:
    """Requeue a run. It counts as a loss only if its worker treats a loss as a failure."""
    job = claim.show(connection, run)
    handler = None if job is None else registry.find(job.worker_id)
    rescue.rescue(
        connection,
        run=run,
        node_id=node_id,
        msg=f"Handler interrupted, {_REPLACED}",
        error=f"WorkerLost: {_REPLACED}",
        is_loss=handler is not None and handler.spec.on_worker_lost is OnWorkerLost.FAIL,
    )
