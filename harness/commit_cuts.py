"""A proxy for PostgreSQL's protocol that loses the responses of commits.

It lets the transaction commit and closes the client's connection instead of forwarding the response: at once, or with a
commit that takes seconds, as with a synchronous standby or a slow disk, while the transaction keeps its locks. It knows
each transaction by the statements that it writes with, and cuts the first ones of each kind, quick and slow in turns.

Clients send simple queries only, as psycopg2 does.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from harness.store_statements import names_of, writing_statements

#: The names of the statements that write in a transaction.
Kind = tuple[str, ...]

#: Seconds of a commit.
QUICK, SLOW = 0.0, 2.0
#: The codes of the first message of a connection (PostgreSQL manual, "Message Formats").
_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_HEADER = struct.Struct("!cI")


class CommitCuts:
    """Forwards its own port to a server."""

    def __init__(
        self,
        url: str,
        *,
        commit_seconds: Sequence[float] = (QUICK, SLOW),
        may_cut: Callable[[Kind], bool] = lambda _: True,
    ) -> None:
        """`commit_seconds`: how long the commits of the first transactions of each kind take; so many are cut."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._commit_seconds = commit_seconds
        self._may_cut = may_cut
        self._lock = threading.Lock()
        #: How often each kind was cut.
        self._cut: Counter[Kind] = Counter()
        self.is_cutting = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        port = self._listener.getsockname()[1]
        #: The URL that leads through this proxy.
        self.url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()
        threading.Thread(target=self._accept, name="commit-cuts", daemon=True).start()

    @property
    def cut(self) -> Mapping[Kind, tuple[int, int]]:
        """Returns how often each kind of transaction was cut with a quick commit, and with a slow one."""
        with self._lock:
            found = {kind: self._commit_seconds[:count] for kind, count in self._cut.items()}
        return {kind: (seconds.count(QUICK), len(seconds) - seconds.count(QUICK)) for kind, seconds in found.items()}

    def by_statement(self) -> Mapping[str, tuple[int, int]]:
        """Returns how often the transactions of each writing statement of the store were cut, quick and slow."""
        found = dict.fromkeys(writing_statements(), (0, 0))
        for kind, (quick, slow) in self.cut.items():
            for name in kind:
                before = found.get(name, (0, 0))
                found[name] = (before[0] + quick, before[1] + slow)
        return found

    def is_due(self, kind: Kind) -> bool:
        """Returns True if a transaction of a kind is to be cut."""
        return self.is_cutting and self._cut[kind] < len(self._commit_seconds) and self._may_cut(kind)

    def take(self, kind: Kind) -> float | None:
        """Count a cut. Returns the seconds that the commit takes, or None if another connection has taken the cut."""
        with self._lock:
            if not self.is_due(kind):
                return None
            self._cut[kind] += 1
            return self._commit_seconds[self._cut[kind] - 1]

    def close(self) -> None:
        """Accept no more connections, and close the open ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            _end(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="commit-cuts-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _end(client)
            return
        server.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets |= {client, server}
        try:
            with suppress(OSError, EOFError):
                _Session(self, client, server).run()
        finally:
            _end(client)
            _end(server)
            self._sockets -= {client, server}


class _Session:
    """One connection of a client. A thread forwards what the server sends, unless the client's thread asks for it."""

    def __init__(self, proxy: CommitCuts, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        #: The messages of the server up to its next `ReadyForQuery`, if the client does not get them.
        self._buffered: list[bytes] | None = None
        self._is_ready = threading.Condition()
        #: The state of the session by the server's last `ReadyForQuery`: I(dle), T(ransaction), E(rror).
        self._state = b"I"
        self._responses = 0
        #: The writing statements of the open transaction, in the order in which they were sent.
        self._names: dict[str, None] = {}
        self._has_ended = False

    def run(self) -> None:
        if not self._start():
            return
        threading.Thread(target=self._forward_responses, name="commit-cuts-server", daemon=True).start()
        while True:
            kind, message = _read(self._client)
            sql = message[5:-1].decode(errors="replace") if kind == b"Q" else ""
            if sql and self._follow(sql, message):
                return
            if not sql:
                self._server.sendall(message)

    def _start(self) -> bool:
        """Pass the first message. Returns False if the connection is of no more use."""
        while True:
            (size,) = struct.unpack("!I", header := _receive(self._client, 4))
            body = _receive(self._client, size - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                self._server.sendall(header + body)
                return bool(code != _CANCEL_REQUEST)
            self._client.sendall(b"N")

    def _forward_responses(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                kind, message = _read(self._server)
                with self._is_ready:
                    if kind == b"Z":
                        # Before the client can send its next query.
                        self._state = message[5:6]
                        self._responses += 1
                    if self._buffered is None:
                        self._client.sendall(message)
                    else:
                        self._buffered.append(message)
                    self._is_ready.notify_all()
        with self._is_ready:
            self._has_ended = True
            self._is_ready.notify_all()
        _end(self._client)

    def _follow(self, sql: str, message: bytes) -> bool:
        """Send a query to the server. Returns True if the transaction was cut: the client is gone."""
        is_free = self._state == b"I"
        if is_free:
            self._names = {}
        command = sql.strip().upper()
        if self._state == b"T" and command == "COMMIT":
            kind = tuple(sorted(self._names))
            is_due = bool(kind) and self._proxy.is_due(kind) and self._has_written()
            if is_due and (seconds := self._proxy.take(kind)) is not None:
                self._cut(seconds)
                return True
            self._server.sendall(message)
            return False
        self._names.update(dict.fromkeys(names := names_of(sql)))
        kind = tuple(sorted(names))
        if is_free and names and not command.startswith("BEGIN") and self._proxy.is_due(kind):
            return self._follow_single(sql, kind)
        self._server.sendall(message)
        return False

    def _follow_single(self, sql: str, kind: Kind) -> bool:
        """Send a message that is a transaction of its own, as one that can be cut once its effect is known."""
        self._ask("BEGIN")
        response = self._ask(sql)
        if self._state == b"T" and self._has_written() and (seconds := self._proxy.take(kind)) is not None:
            self._cut(seconds)
            return True
        self._ask("COMMIT")
        *found, _ = response
        self._client.sendall(b"".join(found) + _message(b"Z", b"I"))
        return False

    def _has_written(self) -> bool:
        response = self._ask("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        return any(message[:1] == b"D" and message.endswith(b"t") for message in response)

    def _cut(self, seconds: float) -> None:
        """Close the client's connection, and commit."""
        if seconds:
            _end(self._client)
            self._ask(f"SELECT pg_sleep({seconds}); COMMIT")
        else:
            self._ask("COMMIT")
            _end(self._client)

    def _ask(self, sql: str) -> list[bytes]:
        """Returns the server's response to a query, which the client does not get."""
        with self._is_ready:
            self._buffered = []
            responses = self._responses
            self._server.sendall(_message(b"Q", sql.encode() + b"\0"))
            self._is_ready.wait_for(lambda: self._responses > responses or self._has_ended)
            found, self._buffered = self._buffered, None
            if self._has_ended:
                raise EOFError
            return found


def _message(kind: bytes, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body) + 4) + body


def _read(source: socket.socket) -> tuple[bytes, bytes]:
    """Returns the type of the next message, and the whole message."""
    kind, size = _HEADER.unpack(header := _receive(source, 5))
    return kind, header + _receive(source, size - 4)


def _receive(source: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        if not (part := source.recv(min(size, 1_048_576))):
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        each.close()
