"""Whether a node takes jobs: the run monitor reads it from the node's row, and the consumer acts on it."""

from __future__ import annotations


class Intake:
    """Open while the node takes jobs. Its attributes may be read and set from any thread."""

    def __init__(self) -> None:
        #: False while the node is drained: it finishes its runs and consumes no queue.
        self.is_open = True
        #: Whether the consumer consumes; follows `is_open` within a second.
        self.is_consuming = True
