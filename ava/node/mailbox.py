"""The datagram socket through which a parent asks a child to stop one run."""

from __future__ import annotations

import json
import os
import select
import socket
import struct

from ava.node.outcome import Stop

#: The credentials of a Unix datagram's sender: pid, uid, gid (unix(7), SCM_CREDENTIALS).
_CREDENTIALS = struct.Struct("iII")


def address(node_id: str, pid: int) -> str:
    """Return the address of a child's socket, in Linux's abstract namespace: no file can be left behind."""
    return f"\0ava-{node_id}-{pid}"


def send_stop(*, node_id: str, pid: int, task_id: str, reason: Stop) -> bool:
    """Ask a child to stop one run; with another run, it ignores the request. Returns False if no child is bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(json.dumps([task_id, reason.value]).encode(), address(node_id, pid))
        except OSError:
            return False
        return True


class Mailbox:
    """A child's side of the socket."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def open(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(address(self._node_id, os.getpid()))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, seconds: float) -> tuple[str, Stop] | None:
        """Wait for at most `seconds` for a request from this user. Returns the run to stop, and the reason."""
        try:
            readable, _, _ = select.select([self._socket], [], [], seconds)
            if not readable:
                return None
            message, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError:
            # The handler closed it. Its run may still have to be stopped.
            self._socket.detach()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.open()
            return None
        if not any(_CREDENTIALS.unpack(data)[1] == os.getuid() for *_, data in ancillary):
            return None
        task_id, reason = json.loads(message)
        return task_id, Stop(reason)
