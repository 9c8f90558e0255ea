"""The ids of jobs, as tables have them."""

from __future__ import annotations

from ava.domain.ids import decode


def uuids(ids: list[str]) -> list[str]:
    """Returns the ids of jobs as their table has them."""
    return [str(decode("job", job_id)) for job_id in ids]
