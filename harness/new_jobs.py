"""Jobs that a test or a benchmark makes without an API, by the one way in which jobs are made."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs.job import Job, JobSpec
from ava.services.creation.job_creator import JobCreator
from ava.store.engine.database import Connection


def make_jobs(
    connection: Connection,
    specs: Sequence[JobSpec],
    *,
    tenant_id: str,
    user_id: str = "usr_test",
    max_published: int = 16,
) -> list[Job]:
    """Make jobs of a user, of which the first are stored as published. Returns them in order."""
    creator = JobCreator(max_published=max_published)
    return creator.create_all(connection, creator.prepare(tenant_id=tenant_id, user_id=user_id, specs=specs))
