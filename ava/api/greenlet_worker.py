"""One answering process: gunicorn's gevent worker, with answers of ours where gunicorn would write HTML.

Only gunicorn imports this module, by its name; importing it patches nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from typing import Any

import gevent
from gunicorn.http import errors as http_errors
from gunicorn.workers.ggevent import GeventWorker

from ava.api.errors import CODES, error_text
from ava.domain import ids

__all__ = ["GreenletWorker"]

#: Seconds that a client may take to send a body, and to take any one piece of an answer.
_BODY_SECONDS = 30
_SEND_SECONDS = 30

_STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (http_errors.LimitRequestLine, 414, "The request line is too long."),
    (http_errors.LimitRequestHeaders, 431, "The headers are too many or too large."),
    (http_errors.UnsupportedTransferCoding, 501, "This Transfer-Encoding is not supported; send chunked or none."),
    (http_errors.ExpectationFailed, 417, "This expectation cannot be met; only 100-continue can."),
    (http_errors.ParseException, 400, "The request is not valid HTTP/1.1."),
)
_REASONS = {400: "Bad Request", 414: "URI Too Long", 417: "Expectation Failed", 431: "Request Header Fields Too Large",
            500: "Internal Server Error", 501: "Not Implemented"}  # fmt: skip


class GreenletWorker(GeventWorker):  # type: ignore[misc]
    """A process that answers each connection in a greenlet."""

    def patch(self) -> None:
        """Make this process's blocking calls give way to its other greenlets; called after the fork."""
        super().patch()
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()

    def notify(self) -> None:
        """Give the sign of life, once a second; end with the process that we must not outlive."""
        super().notify()
        if _is_gone(self.app._settings.parent_pid):
            os.kill(self.ppid, signal.SIGTERM)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request, whose body and whose answer must get through in bounded time."""
        sock.settimeout(_SEND_SECONDS)
        req.body = _TimedBody(req.body)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            # Gunicorn logs a traceback of an OSError without a number that it knows; a slow client is not worth one.
            raise BrokenPipeError(errno.EPIPE, "the client took too long") from error
        finally:
            sock.settimeout(None)

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: BaseException) -> None:
        """Answer what is no request at all in the contract's shape; gunicorn's own answer would be HTML."""
        status, sentence = _refusal(exc)
        request_id = ids.encode("req", ids.new_uuid())
        if status == 500:
            self.log.error("A request could not be handled (%s).", request_id, exc_info=exc)
        else:
            self.log.info("Refused a request with %s (%s): %s", status, request_id, type(exc).__name__)
        docs_url = self.app._settings.docs_url
        text = error_text(CODES.get(status, "bad_request"), sentence, request_id=request_id, docs_url=docs_url)
        with contextlib.suppress(OSError):
            client.settimeout(1)
            client.sendall(_response(status, text, request_id))
            client.shutdown(socket.SHUT_WR)


class _TimedBody:
    """A request's body, all of which must arrive in time."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int | None = None) -> bytes:
        """Read; raises OSError where the client is too slow."""
        try:
            with gevent.Timeout(_BODY_SECONDS):
                read: bytes = self._body.read(size)
                return read
        except gevent.Timeout as timeout:
            self._body.failed = True
            raise BrokenPipeError(errno.EPIPE, "the body took too long") from timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __iter__(self) -> Any:
        return iter(self._body)


def _refusal(exc: BaseException) -> tuple[int, str]:
    for kind, status, sentence in _STATUSES:
        if isinstance(exc, kind):
            return status, sentence
    return 500, "Something went wrong on our side."


def _response(status: int, text: str, request_id: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Bad Request')}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nx-request-id: {request_id}\r\n\r\n"
    )
    return head.encode() + body


def _is_gone(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
