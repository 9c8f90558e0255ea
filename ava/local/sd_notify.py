"""systemd's readiness protocol: a process that is ready sends `READY=1` as a datagram to NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import secrets
import socket

_READY = b"READY=1"


class NotifySocket:
    """The supervisor's side: an abstract socket that receives one process's readiness."""

    def __init__(self) -> None:
        #: The process's NOTIFY_SOCKET. A leading @ marks an abstract name, outside the file system.
        self.name = f"@ava-{secrets.token_hex(16)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self.name))
        self._socket.setblocking(False)
        self._is_ready = False

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def expect_another(self) -> None:
        """Reset the readiness, because another process replaces this one."""
        self.is_ready()
        self._is_ready = False

    def is_ready(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while not self._is_ready:
                self._is_ready = _READY in self._socket.recv(4096).splitlines()
        return self._is_ready


def notify(name: str) -> None:
    """Report this process's readiness to the socket `name`. Do nothing if no process listens there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(_READY, _address(name))


def _address(name: str) -> str:
    return "\0" + name[1:] if name.startswith("@") else name
