"""Telling a supervisor that a process is ready, as systemd asks for it: a datagram `READY=1` to NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import secrets
import socket

__all__ = ["NotifySocket", "notify"]

_READY = b"READY=1"


class NotifySocket:
    """The supervisor's side: a socket of its own, without a file, that hears whether somebody is ready."""

    def __init__(self) -> None:
        #: What the process finds in NOTIFY_SOCKET; @ marks a name outside the file system.
        self.name = f"@ava-{secrets.token_hex(16)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self.name))
        self._socket.setblocking(False)
        self._has_heard = False

    def has_heard(self) -> bool:
        """Whether the process has said that it is ready."""
        with contextlib.suppress(BlockingIOError):
            while not self._has_heard:
                self._has_heard = _READY in self._socket.recv(4096).splitlines()
        return self._has_heard

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()


def notify(name: str) -> None:
    """Say that this process is ready to whoever listens at `name`; nothing happens where nobody does."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(_READY, _address(name))


def _address(name: str) -> str:
    return "\0" + name[1:] if name.startswith("@") else name
