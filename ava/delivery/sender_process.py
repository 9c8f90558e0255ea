"""The process of `ava start sender`. It uses gevent, so that a thousand hanging endpoints do not need a thread each.

Importing this module patches the process, so only this process may import it.
"""

from __future__ import annotations

# Before all other imports, because modules imported earlier would use the blocking calls.
from gevent import monkey

from ava.process.startup import without_gevent_plugins

with without_gevent_plugins():
    monkey.patch_all()

import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

import gevent
from psycogreen.gevent import patch_psycopg

from ava.delivery.sender import Sender
from ava.domain.secrets.sealing import Sealer
from ava.errors import SettingsError
from ava.metrics.counters import ConnectionMeter
from ava.outbound.connections import MAX_IDLE, MAX_LOOKUPS
from ava.process.concealment import close_memory
from ava.process.startup import raise_open_files_limit
from ava.settings import Settings
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.telemetry import logs, tracing

_log = logging.getLogger(__name__)

#: Connections to PostgreSQL: for the lock of the fan-out, for the rounds, and for reading large bodies.
_CONNECTIONS = 3
#: Open files that the process needs in addition to its connections to endpoints.
_OTHER_FILES = 300


def run(settings: Settings) -> None:
    """Send webhooks until SIGTERM or SIGINT.

    Raises `SettingsError` without an encryption key, and `StartError` if the database is not ready for this code.
    """
    if not settings.encryption_keys:
        raise SettingsError("AVA_ENCRYPTION_KEY", "it is not set; generate one with `openssl rand -base64 32`")
    logs.configure(settings, "webhooks")
    tracing.warn_if_unusable(settings)
    schema.check(settings)
    patch_psycopg()
    _lower_priority(settings.webhook_niceness)
    # After setting the niceness, because the kernel then makes root the owner of /proc/self.
    close_memory()
    wanted = settings.webhook_connections + MAX_IDLE + _OTHER_FILES
    if (max_open := raise_open_files_limit(wanted)) < wanted:
        _log.warning("Webhook sender: open files are limited to %d, too few for AVA_WEBHOOK_CONNECTIONS", max_open)
    gevent.get_hub().print_exception = logs.log_uncaught
    gevent.get_hub().threadpool.maxsize = MAX_LOOKUPS
    database = Database.of(
        settings, name="webhooks", pool_size=_CONNECTIONS, meter=ConnectionMeter("webhooks", _CONNECTIONS)
    )
    sender = Sender(database, Sealer(settings.encryption_keys), settings)
    endings: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, _end, endings, sender)
    tracing.start(settings, "webhooks")
    _log.info("Webhook sender started")
    try:
        sender.run(lambda: bool(endings))
    finally:
        tracing.stop()
        database.close()


def _end(endings: list[int], sender: Sender) -> None:
    endings.append(1)
    sender.wake()


def _lower_priority(niceness: int) -> None:
    """Give processes that run jobs precedence when processors are short."""
    with suppress(OSError):
        os.nice(niceness)
        # With autogroup, Linux first divides processors among sessions; niceness counts only within a session.
        Path("/proc/self/autogroup").write_text(str(niceness))
