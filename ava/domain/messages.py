"""The names of queues, tasks and messages in the broker."""

from __future__ import annotations

__all__ = ["DEFAULT_QUEUE", "RESERVED", "TASK", "WEBHOOKS_QUEUE", "WEBHOOKS_TASK", "parse_task_id", "task_id"]

#: The Celery task that runs a job.
TASK = "ava.run_job"
#: The Celery task that wakes a webhook sender.
WEBHOOKS_TASK = "ava.send_webhooks"
#: The Celery queue of that task.
WEBHOOKS_QUEUE = "ava.webhooks"
#: The prefix of the service's own queues; a worker's queue must not have it.
RESERVED = "ava."
#: The Celery queue of workers that name none.
DEFAULT_QUEUE = "default"


def task_id(job_id: str, run_no: int) -> str:
    """Returns Celery's id of a run: the job's id and the run's number, so that no two runs share one."""
    return f"{job_id}.{run_no}"


def parse_task_id(text: str) -> tuple[str, int]:
    """Returns the job's id and the run's number. Raises ValueError if the text is no such id."""
    job_id, _, run_no = text.rpartition(".")
    return job_id, int(run_no)
