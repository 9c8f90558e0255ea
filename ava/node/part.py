"""The part of a node's queues that a process consumes."""

from __future__ import annotations

from enum import Enum, auto


class Part(Enum):
    """A node with slots has two kinds of processes, which consume different queues."""

    #: All queues: the node has no slots.
    ALL = auto()
    #: The queues of concurrent workers.
    SLOTS = auto()
    #: All other queues.
    POOL = auto()
