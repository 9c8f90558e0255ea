"""Write the outcomes of a dead slot process's runs, in a separate process while its replacement starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ava.errors import DatabaseUnavailable, StartError
from ava.handler import registry
from ava.node.outcome import Stop
from ava.node.parent.pool_runs import DeadProcess
from ava.node.parent.run_rescue import rescue_runs
from ava.node.run_board import CurrentRun, Phase
from ava.node.runs.run_writer import HOLD_SECONDS, persist
from ava.node.slots.member import OverdueRun
from ava.settings import Settings
from ava.store.engine import timeouts
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.jobs.transitions import rescue

_log = logging.getLogger(__name__)

_RUNS_PER_STATEMENT = 500
#: Maximum seconds of retrying while the node ends and the database is unreachable.
_ENDING_SECONDS = 5.0


def write_off(
    settings: Settings, node_id: str, pid: int, overdue: Sequence[OverdueRun] | None, is_ending: Callable[[], bool]
) -> None:
    """Rescue the runs of a dead process, and mark its node as stopped. Retries while the database is unreachable.

    `overdue`: the runs in its exit report, which end as they were stopped; the others return to the queue without a
    loss. Without a report (None), or if the node `is_ending` while the database is unreachable, the dispatcher rescues
    all runs as lost with their node.
    """
    timeouts.install_for_threads()
    database = Database.of(settings, name="node", pool_size=1)
    if overdue is not None:
        try:
            registry.load(settings.handler_modules)
        except StartError as error:
            _log.warning("Handlers are not known to the rescue of their runs: %s", error)

    def attempt() -> None:
        with database.connect() as connection:
            if overdue is not None:
                _rescue(connection, node_id, pid, overdue)
            nodes.deregister(connection, node_id)

    try:
        persist(attempt, lambda: _ENDING_SECONDS if is_ending() else HOLD_SECONDS)
    except DatabaseUnavailable:
        _log.warning("Node: the database is unreachable, the dispatcher rescues the runs of the dead process")


def _rescue(connection: Connection, node_id: str, pid: int, overdue: Sequence[OverdueRun]) -> None:
    """Write the outcomes of runs. A repetition changes nothing."""
    is_shutdown = any(each.stop is Stop.SHUTDOWN for each in overdue)
    # A shutdown stops all runs of a process, up to thousands. They are requeued with the others, in batches.
    for each in [each for each in overdue if each.stop is not Stop.SHUTDOWN]:
        current = CurrentRun(
            key=each.run,
            phase=Phase.RUNNING,
            claim_id=each.claim_id,
            began_ns=each.began_ns,
            timeout_seconds=each.timeout_seconds,
        )
        # A run that was not stopped has blocked the process, and is lost.
        process = DeadProcess(pid=pid, current=current, stop=each.stop)
        error = "WorkerLost: it blocked its slot process, which was replaced"
        rescue_runs(connection, [each.run], process, node_id=node_id, error=error)
    reason = "the worker is shutting down" if is_shutdown else "its slot process was replaced"
    count = _RUNS_PER_STATEMENT
    while count == _RUNS_PER_STATEMENT:
        count = rescue.interrupt_runs_of_node(
            connection, node_id=node_id, reason=reason, is_shutdown=is_shutdown, limit=_RUNS_PER_STATEMENT
        )
