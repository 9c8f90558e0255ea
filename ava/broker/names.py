"""The names under which things stand in the broker."""

from __future__ import annotations

__all__ = ["DEFAULT_QUEUE", "TASK", "parse_task_id", "task_id"]

#: The one Celery task.
TASK = "ava.run_job"
#: The Celery queue of workers that name none.
DEFAULT_QUEUE = "default"


def task_id(job_id: str, run_no: int) -> str:
    """Celery's id of one run: the job's id and the run's number, so that no two runs share one."""
    return f"{job_id}.{run_no}"


def parse_task_id(text: str) -> tuple[str, int]:
    """The job's id and the run's number. Raises ValueError where the text is no such id."""
    job_id, _, run_no = text.rpartition(".")
    return job_id, int(run_no)
