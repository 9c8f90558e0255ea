"""The names of queues, tasks and messages in the broker, what a message says, and its signature."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

__all__ = [
    "DEFAULT_QUEUE",
    "RESERVED",
    "SIGNATURE",
    "TASK",
    "WEBHOOKS_QUEUE",
    "WEBHOOKS_TASK",
    "Message",
    "is_signed",
    "parse_task_id",
    "read_arguments",
    "sign",
    "task_id",
]

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

#: The header of a message that holds its signature.
SIGNATURE = "ava_signature"

#: A job's id, a run's number, a worker's id.
Message = tuple[str, int, str]

_JOB_ID = re.compile(r"job_[0-7][0-9a-hjkmnp-tv-z]{25}")
_WORKER_ID = re.compile(r"wkr_[a-z][a-z0-9_]{0,58}")
#: One more than PostgreSQL's largest integer.
_MOST_RUNS = 2**31


def task_id(job_id: str, run_no: int) -> str:
    """Returns Celery's id of a run: the job's id and the run's number, so that no two runs share one."""
    return f"{job_id}.{run_no}"


def parse_task_id(text: str) -> tuple[str, int]:
    """Returns the job's id and the run's number. Raises ValueError if the text is no such id."""
    job_id, _, run_no = text.rpartition(".")
    return job_id, int(run_no)


def read_arguments(arguments: object) -> Message | None:
    """Returns what a message says, from the arguments of its task. Returns None if it is not one of ours."""
    if not isinstance(arguments, list | tuple) or len(arguments) != 3:
        return None
    job_id, run_no, worker_id = arguments
    if not isinstance(job_id, str) or not isinstance(worker_id, str) or type(run_no) is not int:
        return None
    is_ours = 0 < run_no < _MOST_RUNS and _JOB_ID.fullmatch(job_id) and _WORKER_ID.fullmatch(worker_id)
    return (job_id, run_no, worker_id) if is_ours else None


def sign(key: str, *said: object) -> str:
    """Returns the signature of what a message says: HMAC-SHA256 of its parts, in hexadecimal.

    A message of a job says its id, the run's number and the worker's id. A signed message that is sent again is a
    duplicate, which the claim drops.
    """
    return hmac.digest(key.encode(), "\n".join(map(str, said)).encode(), "sha256").hex()


def is_signed(keys: Sequence[str], signature: object, *said: object) -> bool:
    """Returns True if one of the keys has made the signature. Takes the same time for any wrong signature."""
    if not isinstance(signature, str) or not signature.isascii():
        return False
    # All keys are compared, so that the time does not depend on which of them matches.
    matches = [hmac.compare_digest(sign(key, *said), signature) for key in keys]
    return any(matches)
