"""A handler's real `Env` for tests that call a handler themselves, with a log and progress that they can read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from ava import Env
from ava.domain.jobs.job import Job, Status, Trigger
from ava.handler.journal_calls import Calls
from ava.testing.journal import Journal

_NOW = datetime(2025, 6, 1, 10, tzinfo=UTC)
#: A job in its first attempt.
JOB = Job(
    id="job_01hxyz",
    worker_id="wkr_x",
    tenant_id="ten_x",
    status=Status.RUNNING,
    trigger=Trigger.MANUAL,
    priority=5,
    input_json="{}",
    triggered_by="usr_x",
    created_at=_NOW,
    started_at=_NOW,
    completed_at=None,
    output_json=None,
    error=None,
    scheduled_at=None,
    attempt=1,
    max_attempts=1,
    cancel_requested_at=None,
    cancelled_by=None,
    progress_json=None,
    retry_of=None,
    queue="default",
    run_no=1,
    waits_for=None,
    run_at=None,
    published_at=_NOW,
    node_id=None,
)


class Run:
    """One run of a handler: `run.env` is what the handler gets."""

    def __init__(self, **config: str) -> None:
        self.records: list[logging.LogRecord] = []
        self.progress: list[tuple[float, str]] = []
        log = logging.Logger("ava.job")
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign]
        log.addHandler(handler)
        self.env = Env(
            config=config,
            job=JOB,
            log=log,
            report=lambda fraction, message: self.progress.append((fraction, message)),
            is_cancelled=lambda: False,
            calls=lambda: Calls(store=Journal({}), job_id=JOB.id),
        )

    @property
    def lines(self) -> list[str]:
        """Returns the log lines."""
        return [record.getMessage() for record in self.records]
