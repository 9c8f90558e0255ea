"""`ava worker`: Celery's own worker program, told what to run."""

from __future__ import annotations

import os
import warnings

from celery.platforms import SecurityWarning

from ava.broker.app import make_app
from ava.node.signals import install
from ava.settings import Settings
from ava.store.engine import schema

__all__ = ["run"]


def run(settings: Settings, concurrency: int | None, queues: tuple[str, ...] | None) -> int:
    """Run a node until it is told to end; returns its exit code.

    `concurrency`: how many jobs at once; None: as many as there are cores. `queues`: which it serves; None: the default
    one and those of its handlers. Raises `StartError` where the database is not ready for this code.
    """
    schema.check(settings)
    app = make_app(settings, consumes=True)
    install(app, settings)
    # A name of its own, so that a revoke that is addressed to it reaches no other node of this machine.
    arguments = ["--quiet", "worker", "--hostname", f"ava-{os.getpid()}@%h", "--loglevel", settings.log_level]
    # Heartbeats are for Flower, which takes a node without them for one that has gone.
    arguments += ["--without-mingle", "--without-gossip", "--heartbeat-interval", "5"]
    if concurrency is not None:
        arguments += ["--concurrency", str(concurrency)]
    if queues:
        arguments += ["--queues", ",".join(queues)]
    # Celery warns that root must not take pickled messages; this service takes none.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    try:
        app.worker_main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
