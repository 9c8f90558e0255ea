"""`ava start node`: Celery's own worker program with this service's settings."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_ready
from celery.utils.nodenames import gethostname, nodename

from ava.broker import connectivity
from ava.broker.celery_app import make_app
from ava.domain.secrets.sealing import worker_keys
from ava.errors import NodeFailed, StartError
from ava.node.celery_internals import failure, requirements
from ava.node.intake import Part
from ava.process.concealment import conceal, give_up_tracing
from ava.process.startup import without_collections
from ava.setting_values import SECRETS
from ava.settings import Settings
from ava.store import installation
from ava.store.engine import schema


def run(
    settings: Settings,
    concurrency: int | None,
    queues: tuple[str, ...] | None,
    *,
    on_ready: Callable[[], None] | None = None,
    part: Part = Part.ALL,
    node_id: str | None = None,
) -> int:
    """Run a node until it is asked to end. Returns its exit code.

    `concurrency`: None: one job per CPU. `queues`: None: the default queue and its handlers' queues. `on_ready`: called
    when the node consumes. `part`: which queues it consumes. `node_id`: if its command has chosen one.

    Raises `StartError` if the database is not ready for this code, if Celery's version is untested, or if no node can
    run on this machine or broker, and `NodeFailed` if an error ends the node.
    """
    settings = without_secrets(settings)
    requirements.require_tested(settings.pool)
    requirements.require_semaphores()
    with without_collections():
        # An untested Celery may lack names that this imports.
        from ava.node.signals import install

        app = make_checked_app(settings)
        install(app, settings, part=part, chosen=queues or (), node_id=node_id)
        if on_ready is not None:
            worker_ready.connect(lambda **_: on_ready(), weak=False)
        # The parts of a node with slots determine their queues once the handlers are known.
        start = make_worker(app, settings, concurrency, queues if part is Part.ALL else None)
    return start()


def without_secrets(settings: Settings) -> Settings:
    """Remove the settings that no process with handlers may have, and hide them from handlers."""
    # The settings are read. From here on, handlers inherit no key of the service.
    conceal(SECRETS)
    give_up_tracing()
    keys = worker_keys(settings.encryption_keys)
    return replace(settings, internal_secrets=(), encryption_keys=keys, database_owner_url="")


def make_checked_app(settings: Settings) -> Celery:
    """Return the Celery application of a node, once the database and the broker fit this installation."""
    schema.check(settings)
    connectivity.require_own(settings, installation.read_id(settings))
    return make_app(settings, consumes=True)


def make_worker(
    app: Celery, settings: Settings, concurrency: int | None, queues: Sequence[str] | None = None
) -> Callable[[], int]:
    """Return a function that runs Celery's worker until its end and returns its exit code.

    The function raises `NodeFailed`, or the `StartError` that ended the worker.
    """
    # Celery warns that root must not accept pickled messages; this service accepts none.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    errors = failure.catch(app)
    failure.log_shutdown()
    # Celery's command line would load its other commands, which takes longer than loading the node.
    worker = app.Worker(
        # A unique name, so that a revoke addressed to this node reaches no other node of this machine.
        hostname=nodename(f"ava-{os.getpid()}", gethostname()),
        loglevel=logging.getLevelName(settings.log_level),
        quiet=True,
        concurrency=concurrency,
        queues=",".join(queues) if queues else None,
        without_mingle=True,
        without_gossip=True,
        # Flower shows a node without heartbeats as offline.
        heartbeat_interval=5,
    )

    def start() -> int:
        try:
            worker.start()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 1
        if errors and isinstance(errors[0], StartError):
            raise errors[0]
        if errors:
            raise NodeFailed(f"The node ended, because of {type(errors[0]).__name__}: {errors[0]}. Run `ava doctor`.")
        return 0

    return start
