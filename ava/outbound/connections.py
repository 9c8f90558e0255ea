"""Guarded calls that leave their connections open for the next call of the same owner to the same server.

The promises of `ava.outbound.http` hold for each call. A kept connection leads to an address that was judged
when it was made; it is closed soon, so that a name which leads elsewhere meanwhile is asked for again. No two owners
share one, so that no server can confuse what it answers to one with what it answers to another.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic

from ava.errors import OutboundFailed
from ava.outbound.http import Call, HttpResponse, Limits, dial, exchange
from ava.outbound.socket import GuardedSocket, is_quiet

__all__ = ["MOST_KEPT", "Connections"]

#: Connections that one process keeps at a time, besides those that are being used.
MOST_KEPT = 500
#: Seconds for which one is kept that is not used. Servers close theirs after a time as well, many after five seconds.
_IDLE_SECONDS = 2.0
#: Seconds after which a connection is not used again, however busy it is.
_AGE_SECONDS = 60.0

_Key = tuple[str, str, str, int]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    sock: GuardedSocket
    #: When it was made, and when it was last used, on the clock of `time.monotonic`.
    made_at: float
    used_at: float

    def is_over(self, now: float) -> bool:
        return now > self.used_at + _IDLE_SECONDS or now > self.made_at + _AGE_SECONDS


class Connections:
    """The connections of one process, for one thread or any number of greenlets in it."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        """`tls` replaces the trusted certificates."""
        self._limits = limits
        self._tls = tls
        self._kept: dict[_Key, list[_Kept]] = {}
        self._count = 0

    def send(self, method: str, url: str, *, owner: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Call a URL and read the answer, as `guarded_http.send` does; it raises the same.

        A kept connection that turns out to be dead before anything was answered is replaced by a new one, once.
        """
        start = monotonic()
        call = Call.make(method, url, headers=headers, body=body, limits=self._limits, keep_alive=True)
        key = (owner, call.target.scheme, call.target.host, call.target.port)
        kept = self._take(key, start)
        if kept is not None:
            try:
                return self._exchange(call, key, kept, start)
            except OutboundFailed:
                if kept.sock.has_heard:
                    raise
        sock = dial(call.target, self._limits, self._tls)
        now = monotonic()
        return self._exchange(call, key, _Kept(sock=sock, made_at=now, used_at=now), start)

    def close_idle(self) -> None:
        """Close what was not used for a time."""
        now = monotonic()
        for key, line in list(self._kept.items()):
            staying = [kept for kept in line if not kept.is_over(now)]
            for kept in line:
                if kept.is_over(now):
                    kept.sock.close()
            self._count -= len(line) - len(staying)
            self._kept[key] = staying
            if not staying:
                del self._kept[key]

    def close(self) -> None:
        """Close all that is kept."""
        for line in self._kept.values():
            for kept in line:
                kept.sock.close()
        self._kept.clear()
        self._count = 0

    def _exchange(self, call: Call, key: _Key, kept: _Kept, start: float) -> HttpResponse:
        kept.sock.has_heard = stays = False
        try:
            with exchange(kept.sock, call, self._limits) as stream:
                content = b"".join(stream.chunks())
                stays = stream.leaves_connection and self._count < MOST_KEPT
            now = monotonic()
            return HttpResponse(
                status=stream.status,
                headers=stream.headers,
                body=content,
                truncated=stream.truncated,
                elapsed_ms=round((now - start) * 1000),
            )
        finally:
            if stays:
                self._kept.setdefault(key, []).append(replace(kept, used_at=now))
                self._count += 1
            else:
                kept.sock.close()

    def _take(self, key: _Key, now: float) -> _Kept | None:
        """The connection that was used last, if it is still good."""
        line = self._kept.get(key)
        while line:
            kept = line.pop()
            self._count -= 1
            if not kept.is_over(now) and is_quiet(kept.sock):
                return kept
            kept.sock.close()
        return None
