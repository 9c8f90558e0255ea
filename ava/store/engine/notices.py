"""Receive PostgreSQL's NOTIFY messages. They may be lost, so the receiver polls too."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

#: The channel on which `ava_notify_limit` sends the keys of limits.
LIMITS = "ava_limits"

_LISTEN = f"LISTEN {LIMITS}"
#: Keepalives let the server end the session of a process that is frozen or cut off.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 2,
    "application_name": "ava dispatcher notices",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Notices:
    """A listener with a separate session, which `wait` opens and reopens after a failure."""

    retry_seconds = 1.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._connect_at = 0.0

    def wait(self, seconds: float) -> set[str]:
        """Return the payloads of received notices, as soon as there are any, or after `seconds`."""
        if self._connection is None and not self._connect():
            time.sleep(seconds)
            return set()
        try:
            if not self._connection.notifies:
                select.select([self._connection], [], [], seconds)
                self._connection.poll()
        except (psycopg2.Error, OSError, ValueError):
            self.close()
            return set()
        found = {notice.payload for notice in self._connection.notifies}
        self._connection.notifies.clear()
        return found

    def _connect(self) -> bool:
        if time.monotonic() < self._connect_at:
            return False
        self._connect_at = time.monotonic() + self.retry_seconds
        try:
            self._connection = psycopg2.connect(self._url, **_CONNECT)
            self._connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with self._connection.cursor() as cursor:
                cursor.execute(_LISTEN)
        except psycopg2.Error:
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None
