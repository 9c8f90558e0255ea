"""The datagram socket on which a child receives its parent's requests to stop one run."""

from __future__ import annotations

import json
import socket

from ava.node.outcome import Stop

__all__ = ["address", "send_stop"]


def address(node_id: str, pid: int) -> str:
    """Returns the address of a child's socket, in Linux's abstract namespace: no file can be left behind."""
    return f"\0ava-{node_id}-{pid}"


def send_stop(*, node_id: str, pid: int, task_id: str, reason: Stop) -> bool:
    """Ask a child to stop one run; a child that runs another one ignores it. Returns False if no child is bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(json.dumps([task_id, reason.value]).encode(), address(node_id, pid))
        except OSError:
            return False
        return True
