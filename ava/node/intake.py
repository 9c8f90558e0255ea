"""What the processes of a node consume, and whether the node takes jobs."""

from __future__ import annotations

from enum import Enum, auto


class Intake:
    """Open while the node takes jobs. Any thread may read and set its attributes."""

    def __init__(self) -> None:
        #: False while the node is paused: it finishes its runs and consumes no queue.
        self.is_open = True
        #: Whether the consumer consumes; follows `is_open` within a second.
        self.is_consuming = True


class Part(Enum):
    """A node with slots has two kinds of processes, which consume different queues."""

    #: All queues: the node has no slots.
    ALL = auto()
    #: The queues of concurrent workers.
    SLOTS = auto()
    #: All other queues.
    POOL = auto()
