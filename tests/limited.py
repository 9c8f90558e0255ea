"""A worker with a limit or a rate, and what tests of it have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ava.dispatcher.feed.window import WindowFeed
from ava.domain import ids
from ava.domain.jobs.job import Job, LogLevel, LogLine, RunKey
from ava.domain.worker import WorkerLimits
from ava.settings import Settings
from ava.store.jobs.transitions import claim
from tests.backlog import NODE, Backlog, open_backlog

LIMITED = "wkr_limited"


@contextmanager
def limited_backlog(settings: Settings) -> Iterator[Backlog]:
    """Open a backlog whose node has the handler of the limited worker."""
    with open_backlog(settings) as backlog:
        backlog.join(handlers=["wkr_test", LIMITED])
        yield backlog


def limit(backlog: Backlog, max_running: int | None = None, per: str | None = None, **rate: object) -> None:
    """Announce the worker with a limit, a rate, or neither."""
    found = WorkerLimits(max_running=max_running, max_running_per=per, **rate)  # type: ignore[arg-type]
    backlog.announce(LIMITED, limits=found)


def feed(backlog: Backlog, *, tenant_max_running: int | None = None, is_fair: bool = True) -> WindowFeed:
    """Returns the feed."""
    return WindowFeed(
        backlog.database,
        backlog.publisher,
        window=2000,
        node_dead_seconds=14,
        is_fair=is_fair,
        tenant_max_running=tenant_max_running,
    )


def insert(backlog: Backlog, count: int = 1, *, tenant_id: str = "ten_a", **fields: object) -> list[Job]:
    """Insert jobs of the worker that the API would publish."""
    return backlog.insert(count, is_published=True, worker_id=LIMITED, tenant_id=tenant_id, **fields)


def line(job: Job) -> LogLine:
    """Returns the closing line of a run."""
    return LogLine(seq=job.run_no * 2**32 + 5, ts=datetime.now(UTC), level=LogLevel.INFO, msg="end")


def claim_all(backlog: Backlog) -> list[Job]:
    """Claim every published job. Returns the jobs."""
    found = backlog.run(
        "SELECT tenant_id, id::text, run_no FROM jobs WHERE published_at IS NOT NULL AND status = 'queued'"
    )
    claimed = []
    for tenant_id, uuid, run_no in found:
        with backlog.database.connect() as connection:
            run = RunKey(tenant_id, ids.encode("job", uuid), run_no + 1)
            wanted = claim.Claim(run=run, worker_id=LIMITED, node_id=NODE)
            if (job := claim.claim(connection, wanted)) is not None:
                claimed.append(job)
    return claimed
