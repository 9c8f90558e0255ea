"""How a cancel reaches the process at once: a revoke, addressed to the one node that holds the run."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError

from ava.broker.names import task_id
from ava.errors import BrokerUnavailable

__all__ = ["revoke"]


def revoke(app: Celery, *, job_id: str, run_no: int, node_name: str) -> None:
    """Tell a node to send SIGTERM to the process that runs exactly this run, if it still does.

    The message may be lost, for remote control is a broadcast; the node also finds the cancel in the database.
    Raises `BrokerUnavailable`.
    """
    try:
        app.control.revoke(task_id(job_id, run_no), destination=[node_name], terminate=True, signal="SIGTERM")
    except (OSError, OperationalError, *app.pool.connection.recoverable_connection_errors) as error:
        raise BrokerUnavailable from error
