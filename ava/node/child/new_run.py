"""Makes the run of a job that was just claimed, with what its tenant has set."""

from __future__ import annotations

import threading
from dataclasses import replace

from ava.domain.jobs.job import Job
from ava.domain.secrets.sealing import Sealer
from ava.handler import registry
from ava.node.child import run_reports, run_settings
from ava.node.child.last_mask import LastMask
from ava.node.child.run import Run
from ava.node.child.run_writer import RunWriter
from ava.settings import Settings

__all__ = ["NewRuns"]


class NewRuns:
    """Makes the runs of one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sealer = Sealer(settings.encryption_keys)
        self._masks = LastMask()

    def make(self, job: Job, claim_id: str, began_ns: int, run_writer: RunWriter) -> Run:
        """Returns the run of a job. `began_ns`: when the claim was sent, in Unix nanoseconds.

        Only a job whose worker has settings of its tenant, or of the platform, costs a statement.
        """
        handler = registry.find(job.worker_id)
        # The claim compares the row's worker with the message's, whose handler was found before.
        assert handler is not None
        given = run_settings.from_environment(handler, self._settings.worker_config)
        if job.has_settings:
            own, platform = run_writer.worker_settings(job)
            given = run_settings.with_tenant_settings(given, job, own, platform, self._sealer)
        given = replace(given, mask=self._masks.of(given.secrets.values()))
        return Run(
            job=job,
            handler=handler,
            log=run_reports.make_log(job, is_printed=self._settings.print_job_logs, mask=given.mask),
            settings=given,
            main_thread=threading.main_thread(),
            claim_id=claim_id,
            claim_sent_ns=began_ns,
            span=run_reports.start_run_span(job, began_ns),
        )
