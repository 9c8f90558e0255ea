"""A connection to a public address, with a deadline for every read and write.

A name is resolved once, all its addresses are checked, and the connection uses a checked address. There is no second
lookup to which DNS could respond differently.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.outbound.outbound_url import Target, refuse_address

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


import time
from ipaddress import IPv6Address, ip_network

import psutil

from ava.domain.outbound.addresses import Network

#: A name may have hundreds of addresses. If four do not respond, the server is down.
MAX_ADDRESSES_TRIED = 4
#: Seconds until the interfaces are read again; a machine or a pod may get another address.
_REFRESH_SECONDS = 30.0
#: In larger networks (shorter prefixes) the machines are not neighbours, and only the own address counts.
_SHORTEST_PREFIX = {4: 8, 6: 32}

_networks: tuple[Network, ...] = ()
_read_at = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A point in time, and the maximum silence of the peer until then."""

    #: By `time.monotonic`.
    at: float
    #: Without a received byte; then the peer counts as unreachable.
    silence_seconds: float

    @classmethod
    def after(cls, seconds: float, *, silence_seconds: float = float("inf")) -> Deadline:
        return cls(at=monotonic() + seconds, silence_seconds=silence_seconds)

    def seconds_left(self) -> float:
        """Return the seconds for the next step. Raises `TimeoutError` if none are left."""
        left = min(self.at - monotonic(), self.silence_seconds)
        if left <= 0:
            raise TimeoutError("the time limit has passed")
        return left


class _PlainSocket(socket.socket):
    """A TCP socket with one deadline for all reads and writes.

    With an ordinary timeout per read, a server that sends an occasional byte would block its caller forever.
    """

    deadline: Deadline | None = None
    #: Received since this was last set to 0, and their maximum.
    received_bytes = 0
    max_bytes: int | None = None

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        _arm(self, self.deadline)
        return _count(self, super().recv_into(buffer, nbytes, flags))

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        _arm(self, self.deadline)
        super().sendall(data, flags)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS. Its `sendall` calls `send` repeatedly."""

    deadline: Deadline | None = None
    received_bytes = 0
    max_bytes: int | None = None

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        _arm(self, self.deadline)
        return _count(self, super().recv_into(buffer, nbytes, flags))

    def send(self, data: ReadableBuffer, flags: int = 0, **of_gevent: Any) -> int:
        # In a process patched by gevent, `sendall` passes a timeout to `send`. Our deadline is stricter.
        _arm(self, self.deadline)
        return super().send(data, flags, **of_gevent)


GuardedSocket = _PlainSocket | _TlsSocket
#: Resolves a name; arguments: host, port and deadline.
Resolve = Callable[[str, int, Deadline], list[Any]]


def _arm(sock: socket.socket, deadline: Deadline | None) -> None:
    if deadline is not None:
        sock.settimeout(deadline.seconds_left())


def _count(sock: GuardedSocket, received: int) -> int:
    """Count received bytes. Raises `OSError` beyond the maximum; headers, framing and gzip padding count too."""
    sock.received_bytes += received
    if sock.max_bytes is not None and sock.received_bytes > sock.max_bytes:
        raise OSError(errno.EMSGSIZE, f"it sent more than {sock.max_bytes:,} bytes around its answer")
    return received


def is_quiet(sock: GuardedSocket) -> bool:
    """Return True if a connection is open without unread data, which would be mistaken for the next response."""
    try:
        sock.settimeout(0)
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def connect(
    target: Target,
    deadline: Deadline,
    *,
    rules: OutboundRules,
    tls: ssl.SSLContext | None,
    resolve: Resolve | None = None,
) -> GuardedSocket:
    """Connect to a target, over TLS if `tls` is given. DNS, TCP and TLS share one deadline.

    `resolve` replaces the name lookup. Raises `AddressRefused` if the rules refuse any address of the name,
    `TimeoutError`, and otherwise `OSError`: `socket.gaierror` for an unknown name, `ssl.SSLError` for a failed
    handshake.
    """
    addresses = _addresses_of(target, deadline, resolve or resolve_name)
    _check_addresses(target, addresses, rules)
    sock = _dial(addresses, target.port, deadline)
    return sock if tls is None else _wrap(sock, target.host, deadline, tls)


def _addresses_of(target: Target, deadline: Deadline, resolve: Resolve) -> list[str]:
    if target.address is not None:
        return [str(target.address)]
    found = resolve(target.host, target.port, deadline)
    addresses = [str(sockaddr[0]) for family, *_, sockaddr in found if family in (socket.AF_INET, socket.AF_INET6)]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    return list(dict.fromkeys(addresses))


def resolve_name(host: str, port: int, deadline: Deadline, on_end: Callable[[], None] = lambda: None) -> list[Any]:
    """Resolve a name in a thread, because the C library's lookup has no timeout and ignores signals.

    `on_end` is called when the lookup ends, possibly long after the deadline.
    """
    outcomes: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def lookup() -> None:
        try:
            outcomes.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:
            outcomes.put(error)
        finally:
            on_end()

    threading.Thread(target=lookup, name="ava-lookup", daemon=True).start()
    try:
        found = outcomes.get(timeout=deadline.seconds_left())
    except Empty:
        raise TimeoutError("the DNS lookup took too long") from None
    if isinstance(found, Exception):
        raise found
    return found


def _check_addresses(target: Target, addresses: Sequence[str], rules: OutboundRules) -> None:
    """Refuse the name if any of its addresses is refused. A legitimate name does not mix both kinds."""
    own = own_networks()
    for address in addresses:
        why = rules.why_refused(target.host, ip_address(address), own)
        if why:
            refuse_address(target, why)


def _dial(addresses: Sequence[str], port: int, deadline: Deadline) -> _PlainSocket:
    failure: OSError = OSError("no address")
    for address in addresses[:MAX_ADDRESSES_TRIED]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = _PlainSocket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.seconds_left())
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _wrap(sock: _PlainSocket, host: str, deadline: Deadline, tls: ssl.SSLContext) -> _TlsSocket:
    tls.sslsocket_class = _TlsSocket
    try:
        sock.settimeout(deadline.seconds_left())
        wrapped = tls.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
    assert isinstance(wrapped, _TlsSocket)
    return wrapped


def own_networks() -> tuple[Network, ...]:
    """Return the networks of all interfaces, at most `_REFRESH_SECONDS` old. Their hosts are directly reachable."""
    global _networks, _read_at
    if time.monotonic() - _read_at > _REFRESH_SECONDS:
        _networks, _read_at = tuple(_read_networks()), time.monotonic()
    return _networks


def _read_networks() -> set[Network]:
    found: set[Network] = set()
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family in (socket.AF_INET, socket.AF_INET6):
                found.add(_network(each.address, each.netmask))
    return found


def _network(string: str, netmask: str | None) -> Network:
    """Return the network of an interface's address; only the address if its network is unknown or very large."""
    address = ip_address(string.partition("%")[0])
    if not netmask:
        return ip_network(address)
    bits = bin(int(IPv6Address(netmask)) if address.version == 6 else int(ip_address(netmask))).count("1")
    if bits < _SHORTEST_PREFIX[address.version]:
        return ip_network(address)
    return ip_network(f"{address}/{bits}", strict=False)
