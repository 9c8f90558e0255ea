"""Check that a port is available before starting processes that need it."""

from __future__ import annotations

import errno
import socket

from ava.errors import PortInUse


def require_free(host: str, port: int) -> None:
    """Raise `PortInUse` if `port` is taken or privileged, or `host` is not an address of this machine."""
    try:
        family, kind, protocol, _, socket_address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Like servers, so that connections in TIME_WAIT do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(socket_address)
            probe.listen(1)
    except OSError as problem:
        raise PortInUse(_explain(host, port, problem)) from problem


def address(host: str, port: int) -> str:
    """Return the URL for clients on this machine of a server that listens on `host` and `port`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _explain(host: str, port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use; choose another with --port."
    if problem.errno == errno.EACCES:
        return f"Port {port} needs more rights than ours; choose one above 1023 with --port."
    return f"{host} is no address of this machine ({problem.strerror}); choose another with --host."
