"""The process of `ava webhooks`: gevent makes a thousand endpoints that hang cost a thousand small stacks, no threads.

Whoever imports this module patches its process; no other of our processes may.
"""

from __future__ import annotations

# Before anything else is imported, or it would keep the blocking calls.
from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from psycogreen.gevent import patch_psycopg  # noqa: E402

from ava import logs, open_files, tracing  # noqa: E402
from ava.broker.app import make_app  # noqa: E402
from ava.broker.webhook_wakeup import WakeUpListener  # noqa: E402
from ava.delivery.sender import Sender  # noqa: E402
from ava.domain.sealing import Sealer  # noqa: E402
from ava.errors import SettingsError  # noqa: E402
from ava.metrics.counters import ConnectionMeter  # noqa: E402
from ava.outbound.connections import MOST_KEPT  # noqa: E402
from ava.settings import Settings  # noqa: E402
from ava.store.engine import schema  # noqa: E402
from ava.store.engine.database import Database  # noqa: E402

__all__ = ["run"]

_log = logging.getLogger(__name__)

#: Connections to PostgreSQL.
_CONNECTIONS = 2
#: Look-ups of names that may go on at once; the C library's block, and have threads of their own.
_LOOK_UPS = 200
#: Open files that a process needs beside its connections to endpoints.
_OTHER_FILES = 300


def run(settings: Settings) -> None:
    """Send webhooks until SIGTERM or SIGINT.

    Raises `SettingsError` without a key, and `StartError` where the database is not ready for this code.
    """
    if not settings.encryption_keys:
        raise SettingsError("AVA_ENCRYPTION_KEY", "it is not set; make one up, as with `openssl rand -base64 32`")
    logs.configure(settings, "webhooks")
    tracing.warn_if_unusable(settings)
    schema.check(settings)
    patch_psycopg()
    _give_way(settings.webhook_niceness)
    wanted = settings.webhook_connections + MOST_KEPT + _OTHER_FILES
    if (most := open_files.allow(wanted)) < wanted:
        _log.warning("Only %d files may be open, so fewer connections than AVA_WEBHOOK_CONNECTIONS can be.", most)
    gevent.get_hub().threadpool.maxsize = _LOOK_UPS
    database = Database(
        settings.database_url, name="webhooks", pool_size=_CONNECTIONS, meter=ConnectionMeter("webhooks", _CONNECTIONS)
    )
    sender = Sender(database, Sealer(settings.encryption_keys), settings)
    listener = gevent.spawn(WakeUpListener(make_app(settings, consumes=True), sender.wake).listen)
    endings: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, _end, endings, sender)
    tracing.start(settings, "webhooks")
    _log.info("This sender sends webhooks.")
    try:
        sender.run(lambda: bool(endings))
    finally:
        listener.kill()
        tracing.stop()
        database.close()


def _end(endings: list[int], sender: Sender) -> None:
    endings.append(1)
    sender.wake()


def _give_way(niceness: int) -> None:
    """Let those who run jobs on this machine go first where the processors are short."""
    with suppress(OSError):
        os.nice(niceness)
        # Linux shares the processors out among sessions first, where it makes a group of each.
        Path("/proc/self/autogroup").write_text(str(niceness))
