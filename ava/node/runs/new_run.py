"""Create the run of a newly claimed job, with its tenant's settings, or defer the jobs of an unknown worker."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.waits import LoadedJournal
from ava.domain.secrets.masking import SecretMask
from ava.domain.secrets.sealing import Sealer
from ava.handler import registry
from ava.handler.journal_calls import Calls
from ava.handler.registry import Handler
from ava.node.outcome import Stop
from ava.node.runs import run_reports, run_settings
from ava.node.runs.run import Run
from ava.node.runs.run_journal import Creators, RunJournal
from ava.node.runs.run_settings import RunSettings
from ava.node.runs.run_writer import RunWriter
from ava.settings import Settings
from ava.store.engine.database import Database

_log = logging.getLogger(__name__)

Made = TypeVar("Made", bound=Run)

#: Maximum unknown workers that are logged, because their ids come from the broker.
_MAX_DEFERRED = 100


@dataclass(frozen=True, slots=True)
class SentClaim:
    """A claim: its id, and when it was sent, in Unix nanoseconds and in seconds of the monotonic clock."""

    id: str
    sent_ns: int
    sent_at: float

    @classmethod
    def new(cls) -> SentClaim:
        return cls(str(uuid.uuid4()), time.time_ns(), time.monotonic())


class NewRuns(Generic[Made]):
    def __init__(
        self,
        settings: Settings,
        peak_bytes: Callable[[int], int | None],
        run_type: type[Made],
        make_journal: Callable[[Any, Database, Creators], RunJournal] = RunJournal,
    ) -> None:
        """`peak_bytes` returns the peak memory in bytes of the run that began at a given time, if measured."""
        self._settings = settings
        self._peak_bytes = peak_bytes
        self._run_type = run_type
        self._make_journal = make_journal
        self._sealer = Sealer(settings.encryption_keys)
        self._masks = LastMask()
        self._creators = Creators(settings)
        #: The environment's settings, by worker.
        self._bases: dict[str, RunSettings] = {}
        #: Workers whose jobs this process has deferred.
        self._deferred: set[str] = set()

    def defer(self, runs: Sequence[RunKey], worker_id: str, run_writer: RunWriter) -> None:
        """Defer the jobs of a worker whose handler this node lacks. Logs the first job of each worker."""
        if worker_id not in self._deferred and len(self._deferred) < _MAX_DEFERRED:
            self._deferred.add(worker_id)
            _log.warning(
                "This node has no handler for %s and defers its jobs; set AVA_HANDLERS as on the queue's other "
                "nodes, or consume other queues with -q",
                worker_id,
                extra={"job_id": runs[0].job_id},
            )
        for run in runs:
            run_writer.defer(run, worker_id, dead_after_seconds=self._settings.node_dead_seconds)

    def _base(self, handler: Handler) -> RunSettings:
        if (base := self._bases.get(handler.slug)) is None:
            set_by_environment = run_settings.from_environment(handler, self._settings.worker_config)
            max_memory_mb = handler.spec.max_memory_mb or self._settings.max_memory_mb
            base = self._bases[handler.slug] = replace(set_by_environment, max_memory_mb=max_memory_mb)
        return base

    def make(self, job: Job, claim: SentClaim, run_writer: RunWriter, *, is_shared: bool) -> Made:
        """Return the run of a job. `is_shared`: the claim may have got several runs.

        Costs a statement only if the tenant or the platform has settings of the job's worker.
        """
        handler = registry.find(job.worker_id)
        # The message's handler was found before, and the claim requires the row to name the same worker.
        assert handler is not None
        given = self._base(handler)
        if job.has_settings:
            own, platform = run_writer.worker_settings(job)
            given = run_settings.with_tenant_settings(given, job, own, platform, self._sealer)
        mask = self._masks.of(given.secrets.values())
        if mask is not None:
            given = replace(given, mask=mask)
        log = run_reports.make_log(job, is_printed=self._settings.print_job_logs, mask=given.mask)
        journal = run_writer.load_journal(job, claim.id) if job.has_journal else LoadedJournal()
        log.is_repeating = journal is not None and bool(journal.entries)
        loaded_at = time.monotonic()

        def calls(run: Run) -> Calls:
            return Calls(
                store=self._make_journal(run, run_writer.database, self._creators),
                job_id=job.id,
                journal=journal or LoadedJournal(),
                is_async=handler.is_async,
                on_caught_up=log.end_repetition,
                loaded_at=loaded_at,
                all_tasks=run.all_tasks,
                thread_id=threading.main_thread().ident or 0,
            )

        run = self._run_type(
            job=job,
            handler=handler,
            log=log,
            settings=given,
            claim_id=claim.id,
            claim_sent_ns=claim.sent_ns,
            span=run_reports.start_run_span(job, claim.sent_ns),
            calls=calls,
        )
        run.measured_peak = self._peak_bytes
        if job.start_seconds is not None:
            run.begins_before = claim.sent_at + job.start_seconds
        if is_shared:
            run.began_at = job.started_at
            run_reports.open_log(run)
        if journal is None:
            run.stop(Stop.LOST)
        return run


class LastMask:
    """Caches the mask of the last run's secrets, until a run with other secrets or none.

    So no handler can find another tenant's secrets in it.
    """

    def __init__(self) -> None:
        self._mask: SecretMask | None = None
        self._digest: bytes | None = None

    def of(self, secrets: Iterable[str]) -> SecretMask | None:
        known = sorted(set(secrets))
        digest = hashlib.sha256("\0".join(known).encode(errors="surrogatepass")).digest() if known else None
        if digest != self._digest:
            self._mask, self._digest = SecretMask(known) if known else None, digest
        return self._mask
