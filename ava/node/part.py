"""What a process of a node consumes."""

from __future__ import annotations

from enum import Enum, auto


class Part(Enum):
    """A node with slots has processes of two kinds, each with queues of its own."""

    #: All queues: the node has no slots.
    ALL = auto()
    #: The queues of concurrent workers.
    SLOTS = auto()
    #: The others.
    POOL = auto()
