"""Guarded calls that reuse connections for calls of the same owner to the same server.

The guarantees of `ava.outbound.http` hold for each call. An idle connection's address was checked when it was opened;
it closes soon, so that changed names are resolved again. Owners never share a connection, so that a server cannot mix
up their responses.
"""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from ava.errors import OutboundFailed
from ava.outbound.guarded_socket import Deadline, GuardedSocket, is_quiet, resolve_name
from ava.outbound.http import Call, HttpResponse, Limits, dial, exchange

#: Concurrent lookups, in total and per owner. With a silent resolver a lookup long outlives its call.
MAX_LOOKUPS = 200
_MAX_OF_OWNER = 25
MAX_IDLE = 500
#: Many servers close idle connections after five seconds.
_IDLE_SECONDS = 2.0
#: Maximum age in seconds of a connection that is reused.
_MAX_AGE_SECONDS = 60.0

_Key = tuple[str, str, str, int]


class Lookups:
    """Counts running lookups, so that one owner's slow resolver does not block the calls of others."""

    def __init__(self, *, max_lookups: int = MAX_LOOKUPS, max_of_owner: int = _MAX_OF_OWNER) -> None:
        self._max_lookups = max_lookups
        self._max_of_owner = max_of_owner
        self._under_way: Counter[str] = Counter()
        # Lookups end in threads.
        self._lock = threading.Lock()

    def resolve(self, host: str, port: int, deadline: Deadline, *, owner: str) -> list[Any]:
        """Resolve a name for an owner. Raises `TimeoutError`, immediately if too many lookups are running."""
        with self._lock:
            if self._under_way[owner] >= self._max_of_owner or self._under_way.total() >= self._max_lookups:
                raise TimeoutError("earlier DNS lookups have not ended")
            self._under_way[owner] += 1
        return resolve_name(host, port, deadline, partial(self._end, owner))

    def _end(self, owner: str) -> None:
        with self._lock:
            self._under_way[owner] -= 1
            if not self._under_way[owner]:
                del self._under_way[owner]


@dataclass(frozen=True, kw_only=True)
class _Connection:
    sock: GuardedSocket
    #: When it was opened and last used, by `time.monotonic`.
    opened_at: float
    used_at: float

    def is_expired(self, now: float) -> bool:
        return now > self.used_at + _IDLE_SECONDS or now > self.opened_at + _MAX_AGE_SECONDS


class Connections:
    """The connections of one process, for a single thread or for its greenlets."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        """`tls` replaces the trusted certificates."""
        self._limits = limits
        self._tls = tls
        self._lookups = Lookups()
        self._idle: dict[_Key, list[_Connection]] = {}
        self._idle_count = 0

    def send(
        self, method: str, url: str, *, owner: str, tenant: str = "", headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """Call a URL and read the response. Raises the same errors as `ava.outbound.http.send`.

        Connections are reused for the same `owner`; name lookups are limited per `tenant`. If an idle connection proves
        to be dead before any response, the call is repeated once on a new one.
        """
        start = monotonic()
        call = Call.make(method, url, headers=headers, body=body, limits=self._limits, keep_alive=True)
        key = (owner, call.target.scheme, call.target.host, call.target.port)
        idle = self._take_idle(key, start)
        if idle is not None:
            try:
                return self._exchange(call, key, idle, start)
            except OutboundFailed:
                if idle.sock.received_bytes:
                    raise
        sock = dial(call.target, self._limits, self._tls, partial(self._lookups.resolve, owner=tenant))
        now = monotonic()
        return self._exchange(call, key, _Connection(sock=sock, opened_at=now, used_at=now), start)

    def close_idle(self) -> None:
        now = monotonic()
        for key, connections in list(self._idle.items()):
            remaining = [connection for connection in connections if not connection.is_expired(now)]
            for connection in connections:
                if connection.is_expired(now):
                    connection.sock.close()
            self._idle_count -= len(connections) - len(remaining)
            self._idle[key] = remaining
            if not remaining:
                del self._idle[key]

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.sock.close()
        self._idle.clear()
        self._idle_count = 0

    def _exchange(self, call: Call, key: _Key, connection: _Connection, start: float) -> HttpResponse:
        is_reusable = False
        connection.sock.received_bytes = 0
        try:
            with exchange(connection.sock, call, self._limits) as stream:
                content = b"".join(stream.chunks())
                is_reusable = stream.leaves_connection and self._idle_count < MAX_IDLE
            now = monotonic()
            return HttpResponse(
                status=stream.status,
                headers=stream.headers,
                body=content,
                truncated=stream.truncated,
                elapsed_ms=round((now - start) * 1000),
            )
        finally:
            if is_reusable:
                self._idle.setdefault(key, []).append(replace(connection, used_at=now))
                self._idle_count += 1
            else:
                connection.sock.close()

    def _take_idle(self, key: _Key, now: float) -> _Connection | None:
        """Return the most recently used connection that is still usable, or None."""
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()
            self._idle_count -= 1
            if not connection.is_expired(now) and is_quiet(connection.sock):
                return connection
            connection.sock.close()
        return None
