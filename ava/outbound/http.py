"""A small HTTP client for URLs that untrusted clients chose.

It uses `http.client` instead of `requests`: a `requests` session reads the whole body of a redirect even if it may not
follow it, takes proxies and passwords from the environment, logs URLs, and has no timeout for an exchange.

Its guarantees:

- only http and https, no credentials in the URL, and only addresses that are public when the connection is opened;
- redirects are not followed: a 3xx is a response like any other;
- connecting and the exchange have one timeout each, however slowly the server sends;
- at most `max_response_bytes` of a body are read. In total, including headers, framing and empty gzip members, at most
  `max_received_bytes` are received (default: eight times that plus 256 KiB), so memory is bounded for any encoding;
- only the certificate store and the operator's address rules (`AVA_OUTBOUND_ALLOW` and others) come from the
  environment, and no error or log line contains a path or a query.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

import certifi

from ava import settings
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.outbound.outbound_url import Target, parse
from ava.errors import HeaderRefused, OutboundFailed, OutboundTimeout
from ava.outbound.guarded_socket import Deadline, GuardedSocket, Resolve, connect
from ava.version import VERSION

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS
#: Maximum gzip members of one response; servers send one. An empty member takes 20 bytes and costs as much as a large
#: one.
_MAX_MEMBERS = 1_000


class Decoder:
    """Decodes one response. gzip is the only requested encoding; any other passes unchanged."""

    def __init__(self, content_encoding: str) -> None:
        self._gzipped = content_encoding.strip().lower() in ("gzip", "x-gzip")
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._between_members = b""
        self._any_data = False
        self._members = 1

    def decode(self, data: bytes, max_bytes: int) -> Iterator[bytes]:
        """Yield the decoded `data` in pieces of at most `max_bytes`. Raises `zlib.error` for invalid gzip."""
        if not self._gzipped:
            yield data
            return
        self._any_data = True
        while data := self._to_member(data):
            piece = self._member.decompress(data, max_bytes)
            if piece:
                yield piece
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        """Raise `zlib.error` if the response ended in the middle of its gzip stream."""
        if self._any_data and not self._member.eof:
            raise zlib.error("the gzip stream ends too early")

    def _to_member(self, data: bytes) -> bytes:
        """Begin the next gzip member if one has ended. Other bytes after a member are dropped as padding."""
        if not self._member.eof:
            return data
        following, self._between_members = self._between_members + data, b""
        if len(following) < len(_GZIP_MAGIC):
            self._between_members = following
            return b""
        if not following.startswith(_GZIP_MAGIC):
            return b""
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise zlib.error(f"the gzip stream has more than {_MAX_MEMBERS} members")
        self._member = zlib.decompressobj(_GZIP_WBITS)
        return following


_READ_BYTES = 65_536
#: Maximum bytes received in addition to a body, plus a factor on the body, because it may arrive in chunks of one byte.
_MAX_AROUND_BYTES = 2**18
_MAX_RECEIVED_RATIO = 8
_METHODS_WITH_BODY = ("PATCH", "POST", "PUT")
_MAX_HEADERS = 100
_MAX_HEADER_CHARS = 65_536
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# These headers frame or route the message, so only this client sets them.
_OUR_HEADERS = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    #: Timeout for DNS, TCP and TLS together, in seconds.
    connect_timeout_seconds: float = 5.0
    #: Timeout from the first byte sent to the last byte read, in seconds.
    exchange_timeout_seconds: float = 10.0
    #: Timeout between two received bytes of the exchange, in seconds.
    silence_timeout_seconds: float = float("inf")
    #: Maximum bytes of the response's body that are read, after decoding.
    max_response_bytes: int = 65_536
    #: Maximum bytes received, before decoding, including headers and framing; None: eight times `max_response_bytes`
    #: plus 256 KiB.
    max_received_bytes: int | None = None
    #: The allowed addresses; by default, public ones, adjusted by the operator's settings.
    rules: OutboundRules = field(default_factory=lambda: OutboundRules.of(settings.load_outbound()))


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    status: int
    #: Names are in lower case. Repeated headers are joined with a comma.
    headers: Mapping[str, str]
    #: Decoded if the server sent gzip.
    body: bytes = field(repr=False)
    #: Whether the response's body is longer than `body`.
    truncated: bool
    #: Milliseconds from the DNS lookup to the last byte read.
    elapsed_ms: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """One checked call, encoded for the wire."""

    method: str
    target: Target
    message: bytes = field(repr=False)

    @classmethod
    def make(
        cls,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        limits: Limits,
        keep_alive: bool = False,
    ) -> Call:
        """Validate a call before any lookup. Raises `UrlRefused`, `HeaderRefused` or `AddressRefused`."""
        target = parse(url, rules=limits.rules)
        method = _checked_method(method)
        sent = _default_headers(target, keep_alive) | _checked_headers(headers or {})
        if body is not None or method in _METHODS_WITH_BODY:
            sent["Content-Length"] = str(len(body or b""))
        head = [f"{method} {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        return cls(method=method, target=target, message="\r\n".join(head).encode("latin-1") + (body or b""))


class HttpResponseStream:
    """A response within `open_stream`, whose body is read in pieces."""

    def __init__(self, response: http.client.HTTPResponse, target: Target, limits: Limits) -> None:
        self.status = response.status
        self.headers = _headers_of(response)
        self.truncated = False
        self._response = response
        self._target = target
        self._limits = limits
        self._decoder = Decoder(self.headers.get("content-encoding", ""))

    @property
    def leaves_connection(self) -> bool:
        """Whether the response was read completely and the connection can be reused."""
        return self._response.isclosed() and not self._response.will_close and not self.truncated

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most 64 KiB, up to the limit. Raises `OutboundError` if it breaks off."""
        left = self._limits.max_response_bytes
        with _translate_errors(self._target, "finish its answer", self._limits.exchange_timeout_seconds):
            for piece in self._pieces():
                if len(piece) > left:
                    self.truncated = True
                    yield piece[:left]
                    return
                left -= len(piece)
                yield piece

    def _pieces(self) -> Iterator[bytes]:
        while data := self._response.read(_READ_BYTES):
            yield from self._decoder.decode(data, _READ_BYTES)
        if self._response.length:
            raise http.client.IncompleteRead(b"", self._response.length)
        self._decoder.finish()


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> HttpResponse:
    """Call a URL and read the response up to the limit, regardless of its status.

    `tls` replaces the trusted certificates. Raises `UrlRefused`, `HeaderRefused`, `AddressRefused`, `OutboundTimeout`
    or `OutboundFailed`, all of them `OutboundError`.
    """
    start = monotonic()
    with open_stream(method, url, headers=headers, body=body, limits=limits, tls=tls) as stream:
        content = b"".join(stream.chunks())
        return HttpResponse(
            status=stream.status,
            headers=stream.headers,
            body=content,
            truncated=stream.truncated,
            elapsed_ms=round((monotonic() - start) * 1000),
        )


@contextmanager
def open_stream(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HttpResponseStream]:
    """Call a URL and yield the response while it is received. The connection is closed on exit.

    Raises the same errors as `send`.
    """
    limits = limits or Limits()
    call = Call.make(method, url, headers=headers, body=body, limits=limits)
    with dial(call.target, limits, tls) as sock, exchange(sock, call, limits) as stream:
        yield stream


@contextmanager
def exchange(sock: GuardedSocket, call: Call, limits: Limits) -> Iterator[HttpResponseStream]:
    """Send a call over an open connection, and yield the response while it is received.

    Raises `OutboundTimeout` or `OutboundFailed`.
    """
    seconds = limits.exchange_timeout_seconds
    sock.received_bytes, sock.max_bytes = 0, limits.max_received_bytes
    if sock.max_bytes is None:
        sock.max_bytes = _MAX_AROUND_BYTES + _MAX_RECEIVED_RATIO * limits.max_response_bytes
    sock.deadline = Deadline.after(seconds, silence_seconds=limits.silence_timeout_seconds)
    response = http.client.HTTPResponse(sock, method=call.method)
    with closing(response):
        with _translate_errors(call.target, "answer", seconds):
            # A server may respond and close before it has read everything. Its response counts.
            with suppress(BrokenPipeError):
                sock.sendall(call.message)
            response.begin()
        yield HttpResponseStream(response, call.target, limits)


def dial(target: Target, limits: Limits, tls: ssl.SSLContext | None, resolve: Resolve | None = None) -> GuardedSocket:
    """Connect to a target after checking its addresses. Raises `AddressRefused` and the errors of `exchange`.

    `resolve` replaces the name lookup.
    """
    seconds = limits.connect_timeout_seconds
    trusted = (tls or trusted_certificates()) if target.scheme == "https" else None
    with _translate_errors(target, "accept a connection", seconds):
        return connect(target, Deadline.after(seconds), rules=limits.rules, tls=trusted, resolve=resolve)


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the system's certificates, or certifi's if this Python knows no system store."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        context.load_verify_locations(certifi.where())
    return context


def _default_headers(target: Target, keep_alive: bool) -> dict[str, str]:
    return {
        "Host": target.authority,
        "User-Agent": f"ava-jobs/{VERSION}",
        "Accept-Encoding": "gzip",
        "Connection": "keep-alive" if keep_alive else "close",
    }


def _checked_method(method: str) -> str:
    if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        raise HeaderRefused("The method must be an HTTP method such as GET or POST.")
    return method.upper()


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if (
        len(headers) > _MAX_HEADERS
        or sum(len(name) + len(value) for name, value in headers.items()) > _MAX_HEADER_CHARS
    ):
        raise HeaderRefused(f"There are more than {_MAX_HEADERS} headers, or they are longer than 64 KiB; send fewer.")
    for name, value in headers.items():
        _refuse_header(name, value)
    return {name.title(): value for name, value in headers.items()}


def _refuse_header(name: str, value: str) -> None:
    """Raise `HeaderRefused` for an invalid header. The error omits the value, because it may be a password."""
    if not _TOKEN.fullmatch(name):
        raise HeaderRefused("The name of a header must be of letters, digits and dashes, such as X-Request-Id.")
    if name.lower() in _OUR_HEADERS or name.lower().startswith("proxy-"):
        raise HeaderRefused(f"The header {name} is set by the client; leave it out.")
    if not _VALUE.fullmatch(value):
        raise HeaderRefused(f"The value of the header {name} has a line break, a control or a non-Latin character.")


def _headers_of(response: http.client.HTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.items():
        name, value = raw_name.lower(), " ".join(raw_value.split())
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


@contextmanager
def _translate_errors(target: Target, what: str, seconds: float) -> Iterator[None]:
    """Translate lower-level exceptions into `OutboundError`s, which name the remedy and omit the path."""
    try:
        yield
    except TimeoutError as error:
        raise OutboundTimeout(
            f"{target.origin} did not {what} within {seconds:g} s; try again later, or allow more seconds."
        ) from error
    except (OSError, http.client.HTTPException, zlib.error) as error:
        raise OutboundFailed(f"{target.origin} could not be called: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "its name was not found; check the spelling"
        case ssl.SSLCertVerificationError():
            return f"its certificate was not accepted ({error.verify_message.rstrip('.')})"
        case ssl.SSLError():
            return "the TLS handshake failed; check that the port speaks https"
        case ConnectionRefusedError():
            return "it refuses connections; check the port and that the server is up"
        case OSError():
            return error.strerror or "the connection broke"
        case _:
            return "its answer broke off or is not valid HTTP"
