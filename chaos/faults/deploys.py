"""Faults of deploys: missing handlers, moved queues, and rolling releases."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping

import requests

from ava.local.start import free_port
from ava.store.engine import schema
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from harness.releases import ADD_COLUMN, DROP_COLUMN, write_code
from harness.system import ROOT

#: Seconds between moving the requests and ending the old API.
_DRAIN_SECONDS = 0.5


def _drop_handler(cluster: Cluster) -> Injury:
    """Replace all nodes by one without the load's handler, and start one with it after 10 s."""
    _stop_nodes(cluster)
    cluster.start_worker(environ={"AVA_HANDLERS": "workers"})
    time.sleep(10)
    return _start_node(cluster)


def _move_worker(cluster: Cluster) -> Injury:
    """Replace all nodes by one with another queue, which is the only queue that it consumes."""
    _stop_nodes(cluster)
    return _start_node(cluster, "-q", "elsewhere", environ={"CHAOS_QUEUE": "elsewhere"})


def _stop_nodes(cluster: Cluster) -> None:
    for node in cluster.system.workers:
        node.send(signal.SIGQUIT)
    for node in cluster.system.workers:
        node.wait()
    cluster.system.workers.clear()


def _start_node(cluster: Cluster, *arguments: str, environ: Mapping[str, str] | None = None) -> Injury:
    cluster.start_worker(*arguments, environ=environ)
    cluster.system.await_workers()
    return Injury(since=time.monotonic())


def _roll(cluster: Cluster) -> Injury:
    """Replace this code by a newer release under load, starting with the schema; then go back."""
    system = cluster.system
    system.code = cluster.effects_path.parent / "newer_code"
    write_code(system.code, (ADD_COLUMN, DROP_COLUMN, schema.revisions()[-1]))
    system.run("db", "upgrade")
    if (status := requests.get(f"{system.url}/readyz", timeout=10).status_code) != 200:
        raise AssertionError(f"This release answers {status} on the new schema.")
    replace_all(cluster)
    system.code = ROOT
    replace_all(cluster)
    return Injury(since=time.monotonic())


def replace_all(cluster: Cluster, *, move: Callable[[str], None] | None = None) -> None:
    """Replace every process by one of the current code, one at a time, following docs/operate/maintenance.md.

    `move` is called with the API's new URL, which receives further requests.
    """
    replace_dispatchers(cluster)
    replace_nodes(cluster)
    replace_api(cluster, move=move)


def replace_dispatchers(cluster: Cluster) -> None:
    """Replace the dispatchers, one at a time."""
    system = cluster.system
    for dispatcher in list(system.dispatchers):
        system.start_dispatcher()
        system.dispatchers.remove(dispatcher)
        dispatcher.terminate()


def replace_nodes(cluster: Cluster) -> None:
    """Replace the nodes, one at a time."""
    system = cluster.system
    for node in list(system.workers):
        cluster.start_worker()
        system.await_workers()
        system.workers.remove(node)
        node.terminate()


def replace_api(cluster: Cluster, *, move: Callable[[str], None] | None = None) -> None:
    """Replace the API; `move` is called with its new URL, which receives further requests."""
    system = cluster.system
    api = system.api
    assert api
    # A load balancer sends new requests to the new process, and the old one finishes its current ones.
    system.port = free_port()
    system.start_api()
    cluster.load.move(system.url)
    if move:
        move(system.url)
    # A request that is just being sent still goes to the old one.
    time.sleep(_DRAIN_SECONDS)
    api.terminate()


FAULTS = (
    Fault(name="a handler gone for 10 s", inject=_drop_handler, promised_seconds=5),
    Fault(name="a worker moved to another queue", inject=_move_worker, promised_seconds=5),
    Fault(
        name="rolled to a newer release, and back",
        inject=_roll,
        promised_seconds=5,
        refuses_nothing=True,
    ),
)
