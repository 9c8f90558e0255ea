"""Broker messages: queue, task and header names, their arguments and their signature."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ava.domain import ids
from ava.domain.jobs.job import RunKey

TASK = "ava.run_job"
#: The prefix of the service's own keys in the broker; no worker's queue may have it.
RESERVED = "ava."
#: The Celery queue of workers without a queue setting.
DEFAULT_QUEUE = "default"
CONCURRENT_QUEUE = "concurrent"

SIGNATURE = "ava_signature"

MAX_RUNS = 16

_JOB_ID = re.compile(r"job_[0-7][0-9a-hjkmnp-tv-z]{25}")
_WORKER_ID = re.compile(r"wkr_[a-z][a-z0-9_]{0,58}")
#: PostgreSQL's largest integer + 1.
_MAX_RUN_NO = 2**31


class Message(NamedTuple):
    """The runs that one process may start, one after another, and the worker of their jobs."""

    worker_id: str
    #: More than one only for brief jobs (`ava.domain.jobs.run_groups`).
    runs: tuple[RunKey, ...]

    @classmethod
    def of(cls, arguments: Sequence[Any]) -> Message:
        """Return the message of task arguments that `read_arguments` has checked."""
        tenant_id, job_id, run_no, worker_id, *more = arguments
        return cls(worker_id, (RunKey(tenant_id, job_id, run_no), *(RunKey(*run) for runs in more for run in runs)))

    @property
    def task_id(self) -> str:
        return task_id(self.runs[0])

    @property
    def arguments(self) -> tuple[Any, ...]:
        first, *more = self.runs
        return (*first, self.worker_id, more) if more else (*first, self.worker_id)

    @property
    def arguments_repr(self) -> str:
        (tenant_id, job_id, run_no), *more = self.runs
        return f"({tenant_id!r}, {job_id!r}, {run_no}, {self.worker_id!r}{f', and {len(more)} more' if more else ''})"

    @property
    def signed_parts(self) -> tuple[object, ...]:
        first, *more = self.runs
        return (*first, self.worker_id, *(part for run in more for part in run))


def task_id(run: RunKey) -> str:
    """Return Celery's id of a run, which no other run has."""
    return f"{run.job_id}.{run.run_no}"


def read_arguments(arguments: object) -> Message | None:
    """Return the message that a task's arguments encode; None if they are not valid arguments of `TASK`."""
    if not isinstance(arguments, list | tuple) or len(arguments) not in (4, 5):
        return None
    tenant_id, job_id, run_no, worker_id, *rest = arguments
    more = rest[0] if rest else ()
    if not isinstance(worker_id, str) or not _WORKER_ID.fullmatch(worker_id):
        return None
    if not isinstance(more, list | tuple) or len(more) >= MAX_RUNS:
        return None
    return Message.of(arguments) if all(map(_is_run, ((tenant_id, job_id, run_no), *more))) else None


def _is_run(run: object) -> bool:
    if not isinstance(run, list | tuple) or len(run) != 3:
        return False
    tenant_id, job_id, run_no = run
    if not isinstance(tenant_id, str) or not isinstance(job_id, str) or type(run_no) is not int:
        return False
    return ids.is_client_id("ten", tenant_id) and bool(_JOB_ID.fullmatch(job_id)) and 0 < run_no < _MAX_RUN_NO


def sign(key: bytes, *parts: object) -> str:
    """Return the signature of a message: HMAC-SHA256 of its parts, in hexadecimal.

    Job messages sign `Message.signed_parts`. A replayed signed message is a duplicate, which the claim drops.
    """
    return hmac.digest(key, "\n".join(map(str, parts)).encode(), "sha256").hex()


def is_signed(keys: Sequence[bytes], signature: object, *parts: object) -> bool:
    """Return True if any key made the signature. Take constant time for any wrong signature."""
    if not isinstance(signature, str) or not signature.isascii():
        return False
    # Compare with all keys, so that the time does not depend on which one matches.
    matches = [hmac.compare_digest(sign(key, *parts), signature) for key in keys]
    return any(matches)
