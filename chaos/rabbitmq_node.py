"""A RabbitMQ cluster of two loses the node with a queue: `python -m chaos.rabbitmq_node`.

Two of our nodes and the API are connected to the other RabbitMQ node. The lost one is killed and, in a second scene,
shut down, to which RabbitMQ reacts differently. Meanwhile the jobs of the other queue must complete and no request may
fail; after the node's return all jobs must complete. Prints the durations, and returns 0 if all promises held.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import kombu

from ava import settings as settings_module
from ava.broker.celery_app import make_queue
from ava.store.engine import schema
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.rabbitmq import RabbitMQ, running_rabbitmq
from harness.servers.server import private_folder
from harness.system import System

#: The worker of the queue on the lost node, and one of another queue.
_LOST, _OTHER = "wkr_a_busy", "wkr_b_quiet"
_LOST_QUEUE = "a-busy"
_JOBS = 200
#: Max seconds until nodes report the queue as refused and the other queue's jobs have ended; until all have afterwards.
_SHOWN_SECONDS, _RECOVERED_SECONDS = 30.0, 90.0


def main() -> int:
    """Play both scenes. Returns 0 if everything held."""
    for name, lose in (("killed", RabbitMQ.kill), ("shut down", RabbitMQ.stop)):
        try:
            _scene(name, lose)
        except AssertionError as broken:
            print(f"{name}: NO: {broken}")
            return 1
    return 0


def _scene(name: str, lose: Callable[[RabbitMQ], None]) -> None:
    with running_postgres() as postgres, running_rabbitmq() as rabbitmq, rabbitmq.member() as member:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": rabbitmq.url}))
        # A queue lives on the node that declared it first.
        with kombu.Connection(member.url) as connection:
            make_queue(_LOST_QUEUE).bind(connection.default_channel).queue_declare()
        with private_folder() as folder:
            _play(name, folder, postgres.url, rabbitmq.url, member, lose)


def _play(
    name: str, folder: Path, database_url: str, broker_url: str, member: RabbitMQ, lose: Callable[[RabbitMQ], None]
) -> None:
    system = System(folder, database_url=database_url, broker_url=broker_url)
    try:
        system.start(workers=2, environ={"AVA_HANDLERS": "workers,tests.acceptance.queue_handlers"})
        lose(member)
        slowest = max(_trigger(system, worker) for worker in (_LOST, _OTHER, _LOST, _OTHER))
        shown = _seconds(
            lambda: _is_done(system, _OTHER) and _is_shown(system), _SHOWN_SECONDS, "the other queue goes on"
        )
        assert not _is_done(system, _LOST), "the queue was not lost"
        member.start()
        back = _seconds(
            lambda: _is_done(system, _LOST) and not _is_shown(system), _RECOVERED_SECONDS, "all jobs are done"
        )
        assert all(worker.exit_code is None for worker in system.workers), "a node ended"
        print(
            f"{name}: slowest request {slowest:.1f} s, shown after {shown:.1f} s,"
            f" all done {back:.1f} s after its return"
        )
    finally:
        system.stop()


def _trigger(system: System, worker_id: str) -> float:
    """Trigger jobs. Returns the seconds that it took."""
    began = time.monotonic()
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": worker_id}] * _JOBS})
    assert response.status_code == 201, response.text
    return time.monotonic() - began


def _is_done(system: System, worker_id: str) -> bool:
    found = system.query("SELECT count(*), count(completed_at) FROM jobs WHERE worker_id = %s", worker_id)
    return found == [(2 * _JOBS, 2 * _JOBS)]


def _is_shown(system: System) -> bool:
    return system.query("SELECT count(*) FROM nodes WHERE %s = ANY(refused_queues)", _LOST_QUEUE) == [(2,)]


def _seconds(condition: Callable[[], bool], limit: float, what: str) -> float:
    began = time.monotonic()
    wait_until(condition, seconds=limit, what=what)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
