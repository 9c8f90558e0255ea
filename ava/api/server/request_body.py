"""Bound a request's head, read its body in bounded time, and bound the number of bodies that a process waits for."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import struct
import termios
from collections.abc import Iterator
from typing import Any

import gevent
from gunicorn.http.errors import LimitRequestHeaders

from ava.api.gate.tenant_shares import ALL_TENANTS, TenantShares
from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.errors import TooMany

#: Bytes of a body after which other requests are served first.
PIECE_BYTES = 2**16
#: Seconds that a client may take to send a body.
_BODY_SECONDS = 30
#: Bytes and seconds for which an unread body is drained, so that the client can read the response. The pause after each
#: piece keeps clients that send refused bodies from occupying this process.
_DRAIN_BYTES, _DRAIN_PIECE_BYTES, _DRAIN_PIECE_PAUSE_SECONDS = 32 * 2**20, 2**18, 0.02
_DRAIN_SECONDS = 5
#: Max refused bodies that are drained concurrently. Beyond it, connections are closed without draining.
_MAX_DRAINED = 100


class PendingBodies:
    """Bound the bodies that one process waits for, in total and per address. A waiting read occupies a connection."""

    def __init__(self) -> None:
        self._all = TenantShares(limits.PENDING_BODIES, limits.PENDING_BODIES.value)
        self._by_address = TenantShares(limits.ADDRESS_PENDING_BODIES, limits.ADDRESS_PENDING_BODIES.value)
        self.drained = 0

    @contextlib.contextmanager
    def waiting(self, address: str) -> Iterator[None]:
        """Count a read that waits. Raises `TooMany` beyond the limits."""
        with self._by_address.take(address), self._all.take(ALL_TENANTS):
            yield


class TimedBody:
    """A request's body, which must arrive in bounded time."""

    def __init__(self, body: Any, pending: PendingBodies, *, address: str) -> None:
        self._body = body
        self._reader: Any = getattr(body, "reader", None)
        self._pending = pending
        self._address = address

    def read(self, size: int | None = None) -> bytes:
        """Return up to `size` bytes. Raises `BrokenPipeError` if the client is too slow, `TooMany` if too many are."""
        if self._has_ended():
            return b""
        read = self._wait_and_read(size) if self.must_wait(size) else self._body.read(size)
        if len(read) >= PIECE_BYTES:
            # A read of bytes that have already arrived does not yield.
            gevent.sleep(0)
        return read

    def _wait_and_read(self, size: int | None) -> bytes:
        try:
            with self._pending.waiting(self._address), gevent.Timeout(_BODY_SECONDS):
                read: bytes = self._body.read(size)
                return read
        except gevent.Timeout as timeout:
            self._body.failed = True
            raise BrokenPipeError(errno.EPIPE, "the body took too long") from timeout
        except TooMany:
            # The rest is not read, so the connection cannot be reused.
            self._body.failed = True
            raise

    def _has_ended(self) -> bool:
        """Return True if the whole body was read, according to its declared length."""
        return getattr(self._reader, "length", None) == 0 and not self._body.buf.tell()

    def must_wait(self, size: int | None) -> bool:
        """Return True if some of the next `size` bytes, or of the rest of the body, may not have arrived yet."""
        reader = self._reader
        left: int | None = getattr(reader, "length", None)
        if left is None:
            # The length of a chunk is unknown until it arrives. Gunicorn drops the parser after the last chunk.
            return getattr(reader, "parser", None) is not None
        wanted = left if size is None or size < 0 else min(left, size)
        missing: int = wanted - self._body.buf.tell() - reader.unreader.buf.tell()
        return missing > 0 and missing > _arrived(reader.unreader.sock)

    def drain(self) -> None:
        """Read the rest of the body, within bounds; beyond them the connection cannot be reused."""
        if self._body.failed or self._has_ended():
            return
        if self._pending.drained >= _MAX_DRAINED:
            self._body.failed = True
            return
        self._pending.drained += 1
        try:
            self._drop_rest()
        finally:
            self._pending.drained -= 1

    def _drop_rest(self) -> None:
        left, is_read = _DRAIN_BYTES, False
        with contextlib.suppress(Exception), gevent.Timeout(_DRAIN_SECONDS, False):
            while left > 0 and not is_read:
                read = len(self._body.read(_DRAIN_PIECE_BYTES))
                left, is_read = left - read, not read
                if read == _DRAIN_PIECE_BYTES:
                    gevent.sleep(_DRAIN_PIECE_PAUSE_SECONDS)
        # The start of the next request is unknown then. Gunicorn would read on without a bound.
        self._body.failed = self._body.failed or not is_read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __iter__(self) -> Any:
        return iter(self._body)


def _arrived(client: Any) -> int:
    """Return the number of bytes that the kernel buffers for a client's socket (ioctl_tty(2), FIONREAD)."""
    (found,) = struct.unpack("i", fcntl.ioctl(client.fileno(), termios.FIONREAD, bytes(4)))
    return int(found)


_LINE_END = b"\r\n"
_END = 2 * _LINE_END
#: Max lines of a head: the request line, the fields, and the empty line.
_MAX_LINES = limits.HEADER_FIELDS.value + 2
#: The parser's messages for a head with too many fields, and with a field that is too long.
_TOO_MANY = "limit request headers fields"
_TOO_LONG = f"{_TOO_MANY} size"


class RequestHead:
    """The pieces of one head, buffered until the parser can use them."""

    def __init__(self) -> None:
        self._buffered: list[bytes] = []
        #: The last bytes received; the head's end may begin in them.
        self._last = b""
        self._lines = 0
        self._line_bytes = 0

    def add(self, piece: bytes) -> bytes:
        """Return the bytes that the parser gets now; empty if it can only wait for more.

        Raises `LimitRequestHeaders` if a field is too long, or if there are too many.
        """
        # Pass the first line to the parser unbuffered, because the parser checks that line itself.
        is_first_line = self._lines == 0
        seen = self._last + piece
        self._last = seen[-len(_END) + 1 :]
        self._buffered.append(piece)
        if ended := piece.count(b"\n"):
            self._refuse_long(self._line_bytes + piece.find(b"\n"))
            self._lines += ended
            self._line_bytes = len(piece) - piece.rfind(b"\n") - 1
            # The parser refuses a line that ends with a bare LF.
            if _END in seen or seen.count(b"\n") != seen.count(b"\r\n"):
                return self.take()
        else:
            self._line_bytes += len(piece)
        self._refuse_long(self._line_bytes)
        if self._lines > _MAX_LINES:
            raise LimitRequestHeaders(_TOO_MANY)
        return self.take() if is_first_line else b""

    def _refuse_long(self, line_bytes: int) -> None:
        # The parser checks the request line, which may be longer than a field.
        if self._lines and line_bytes > limits.HEADER_FIELD_BYTES.value + len(_LINE_END):
            raise LimitRequestHeaders(_TOO_LONG)

    def take(self) -> bytes:
        """Return the buffered bytes and clear the buffer."""
        buffered, self._buffered = b"".join(self._buffered), []
        return buffered


def exceeded_limit(error: LimitRequestHeaders) -> Limit:
    """Return the limit that a refused head exceeds, whether the parser or `RequestHead` refused it."""
    return limits.HEADER_FIELD_BYTES if str(error) == _TOO_LONG else limits.HEADER_FIELDS
