"""Pull workers: programs claim their runs over HTTP (`runtime: "pull"`), and their queues."""

from __future__ import annotations

from dataclasses import dataclass

#: The runtime of pull workers, and the queue name that clients see. No node consumes it.
RUNTIME = "pull"
QUEUE = "pull"
#: A worker is live for this long after a claim.
LIVE_SECONDS = 45
#: Heartbeat timeout of a run; then it is rescued.
PULLED_SILENT_SECONDS = 15.0
PROTOCOLS = ("1",)

#: Handlers cannot name such a queue: their queue names have no colon.
_PREFIX = f"{QUEUE}:"


@dataclass(frozen=True, kw_only=True, slots=True)
class PullQueue:
    """The queue of one worker's jobs of one tenant: the feed offers them to claims.

    Each tenant of a platform worker has its own queue, so that unclaimed jobs of one tenant do not block the others.
    """

    #: `*` is the platform.
    owner: str
    worker_id: str
    tenant_id: str

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.owner}:{self.worker_id}:{self.tenant_id}"

    @classmethod
    def parse(cls, name: str) -> PullQueue:
        """Parse a queue's name. Raise `ValueError` if it is not a pull queue's."""
        _, owner, worker_id, tenant_id = name.split(":")
        return cls(owner=owner, worker_id=worker_id, tenant_id=tenant_id)


def is_pulled(queue: str) -> bool:
    """Return True if jobs of the queue are claimed over HTTP and have no messages in the broker."""
    return queue.startswith(_PREFIX)


def shown(queue: str) -> str:
    return queue.partition(":")[0]
