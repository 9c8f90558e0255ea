"""How a cancel reaches the process at once: a revoke, addressed to the one node that holds the run."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError

from ava.domain.messages import task_id
from ava.errors import BrokerUnavailable

__all__ = ["RELEASE_RUNS", "release_runs", "revoke", "revoke_all"]

#: The remote control command of ours.
RELEASE_RUNS = "ava_release_runs"


def revoke(app: Celery, *, job_id: str, run_no: int, node_name: str) -> None:
    """Tell a node to send SIGTERM to the process that runs exactly this run, if it still does.

    The message may be lost, for remote control is a broadcast; the node also finds the cancel in the database.
    Raises `BrokerUnavailable`.
    """
    revoke_all(app, runs=[(job_id, run_no)], node_name=node_name)


def revoke_all(app: Celery, *, runs: Sequence[tuple[str, int]], node_name: str) -> None:
    """The same for several runs of one node, each as its job's id and its number."""
    task_ids = [task_id(job_id, run_no) for job_id, run_no in runs]
    try:
        app.control.revoke(task_ids, destination=[node_name], terminate=True, signal="SIGTERM")
    except (OSError, OperationalError, *app.pool.connection.recoverable_connection_errors) as error:
        raise BrokerUnavailable from error


def release_runs(app: Celery, *, runs: Sequence[tuple[str, int]], node_name: str) -> None:
    """Tell a node that others are about to be given these runs, should it be cut off from the database alone.

    The message may be lost, or nobody may be there to hear it. Raises `BrokerUnavailable`.
    """
    arguments = {"task_ids": [task_id(job_id, run_no) for job_id, run_no in runs]}
    # Each transport raises errors of its own, with no common class.
    try:
        app.control.broadcast(RELEASE_RUNS, arguments=arguments, destination=[node_name])
    except Exception as error:
        raise BrokerUnavailable from error
