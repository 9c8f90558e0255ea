"""Workers whose runs are claimed over HTTP (`runtime: "pull"`), and the queue of each."""

from __future__ import annotations

from dataclasses import dataclass

#: The runtime of such a worker, and the queue that clients see of it. No node consumes the queue.
RUNTIME = "pull"
QUEUE = "pull"
#: A worker is live for so many seconds after a claim of its runs.
LIVE_SECONDS = 45
#: Seconds without a word after which a run is rescued.
PULLED_SILENT_SECONDS = 15.0
#: The versions of the protocol of runs that this release speaks (`AVA-Runs-Protocol`).
PROTOCOLS = ("1",)

#: Handlers cannot name such a queue, because theirs have no colon.
_PREFIX = f"{QUEUE}:"


@dataclass(frozen=True, kw_only=True, slots=True)
class PullQueue:
    """The queue of one worker's jobs of one tenant, in which the feed offers them to claims.

    The tenants of a platform's worker have a queue each, so that one whose jobs are not claimed stops no other.
    """

    #: Whose worker it is; `*` stands for the platform.
    owner: str
    worker_id: str
    #: The tenant of the jobs.
    tenant_id: str

    @property
    def name(self) -> str:
        """Returns the name as `jobs.queue` has it."""
        return f"{_PREFIX}{self.owner}:{self.worker_id}:{self.tenant_id}"

    @classmethod
    def parse(cls, name: str) -> PullQueue:
        """Returns the queue of a name. Raises `ValueError` if it is another kind of queue."""
        _, owner, worker_id, tenant_id = name.split(":")
        return cls(owner=owner, worker_id=worker_id, tenant_id=tenant_id)


def is_pulled(queue: str) -> bool:
    """Returns True if the jobs of a queue are claimed over HTTP, and have no messages in the broker."""
    return queue.startswith(_PREFIX)


def shown(queue: str) -> str:
    """Returns a queue as clients see it."""
    return queue.partition(":")[0]
