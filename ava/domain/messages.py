"""The names under which things stand in the broker."""

from __future__ import annotations

__all__ = ["DEFAULT_QUEUE", "RESERVED", "TASK", "WEBHOOKS_QUEUE", "WEBHOOKS_TASK", "parse_task_id", "task_id"]

#: The Celery task that runs a job.
TASK = "ava.run_job"
#: The Celery task that has a sender of webhooks look for what is to be sent.
WEBHOOKS_TASK = "ava.send_webhooks"
#: The Celery queue of that task.
WEBHOOKS_QUEUE = "ava.webhooks"
#: What the names of our own queues begin with, and those of jobs' queues never do.
RESERVED = "ava."
#: The Celery queue of workers that name none.
DEFAULT_QUEUE = "default"


def task_id(job_id: str, run_no: int) -> str:
    """Celery's id of one run: the job's id and the run's number, so that no two runs share one."""
    return f"{job_id}.{run_no}"


def parse_task_id(text: str) -> tuple[str, int]:
    """The job's id and the run's number. Raises ValueError where the text is no such id."""
    job_id, _, run_no = text.rpartition(".")
    return job_id, int(run_no)
