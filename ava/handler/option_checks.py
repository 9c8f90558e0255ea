"""Which values the options of `@worker` take, and the limits that they declare."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ava.domain.jobs import trigger_options
from ava.domain.jobs.messages import RESERVED
from ava.domain.limits import rates
from ava.domain.strings import did_you_mean
from ava.domain.worker import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, PULL_QUEUE, OnWorkerLost, WorkerLimits, WorkerSpec
from ava.errors import HandlerError

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,58}")
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_LONGEST_TIMEOUT_SECONDS = 3600
_LONGEST_GRACE_SECONDS = 600
_MAX_RETRIES = 25
_MAX_MB = 1_048_576
_ON_WORKER_LOST = tuple(OnWorkerLost)
_MAX_RUNNING = 1_000_000
#: The options of other libraries' decorators, and the form here.
_OTHER_NAMES = {
    **dict.fromkeys(("timeout", "time_limit", "soft_time_limit", "execution_timeout"), "timeout_seconds=…"),
    **dict.fromkeys(("max_duration", "job_timeout"), "timeout_seconds=…"),
    **dict.fromkeys(("retries", "max_attempts"), "max_retries=…"),
    **dict.fromkeys(("autoretry_for", "throws"), "retry_on=… or give_up_on=…"),
    **dict.fromkeys(("retry_backoff", "retry_delay", "default_retry_delay"), "retry=ava.Retry(…)"),
    **dict.fromkeys(("backoff_factor", "backoff_max_seconds", "retry_kwargs"), "retry=ava.Retry(…)"),
    **dict.fromkeys(("concurrency", "concurrency_limit", "max_concurrency"), "max_running=…"),
    **dict.fromkeys(("rate_limit", "rate_limits"), 'rate="100/minute"'),
    **dict.fromkeys(("cron", "crontab", "on_crons"), "schedule=…, timezone=…, schedule_tenant=…"),
    **dict.fromkeys(("input_validator", "schema"), "input_schema=…, or annotate the first parameter"),
    **dict.fromkeys(("expires", "ttl", "schedule_timeout"), "expires_in_seconds=…"),
    **dict.fromkeys(("acks_late", "reject_on_worker_lost"), "on_worker_lost=…"),
    **dict.fromkeys(("priority", "tags"), "task.trigger(input, priority=…, tags=…)"),
    "bind": "a second parameter, env",
    "queue_name": "queue=…",
}
_PER = re.compile(r"tenant|input(\.[^.\x00]{1,64}){1,8}")


def describe_unknown(option: str, known: Iterable[str]) -> str:
    """Return a sentence about an unknown option, with the option to use if it is similar or another library's."""
    form = f" Write {_OTHER_NAMES[option]}." if option in _OTHER_NAMES else did_you_mean(option, known)
    return f"@worker has no option {option!r}.{form}"


def check(slug: str, spec: WorkerSpec, on_worker_lost: str) -> None:
    """Raise `HandlerError` that names each option with an invalid value."""
    wrong = [
        reason
        for is_right, reason in (
            (_SLUG.fullmatch(slug), "the slug must match [a-z][a-z0-9_]{0,58}"),
            (
                0 < spec.timeout_seconds <= _LONGEST_TIMEOUT_SECONDS,
                f"timeout_seconds must be above 0, at most {_LONGEST_TIMEOUT_SECONDS}",
            ),
            (spec.max_retries in range(_MAX_RETRIES + 1), f"max_retries must be from 0 to {_MAX_RETRIES}"),
            (
                0 <= spec.cancel_grace_seconds <= _LONGEST_GRACE_SECONDS,
                f"cancel_grace_seconds must be from 0 to {_LONGEST_GRACE_SECONDS}",
            ),
            (_QUEUE.fullmatch(spec.queue), "queue must match [A-Za-z0-9][A-Za-z0-9_.-]{0,99}"),
            (not spec.queue.startswith(RESERVED), f"queue must not begin with {RESERVED}, which is reserved"),
            (spec.queue != PULL_QUEUE, f"queue must not be {PULL_QUEUE}, which no node consumes"),
            (on_worker_lost in _ON_WORKER_LOST, "on_worker_lost must be requeue or fail"),
            *(
                (
                    _is_count(getattr(spec, name), trigger_options.MAX_EXPIRY_SECONDS),
                    f"{name} must be whole seconds from 1 to {trigger_options.MAX_EXPIRY_SECONDS}",
                )
                for name in ("expires_in_seconds", "deadline_seconds")
            ),
            (_is_count(spec.max_memory_mb, _MAX_MB), f"max_memory_mb must be whole MiB from 1 to {_MAX_MB}"),
            (
                _is_retention(spec.retention_days),
                f"retention_days must be from {MIN_RETENTION_DAYS:g} to {MAX_RETENTION_DAYS}",
            ),
        )
        if not is_right
    ]
    refuse(slug, wrong)


def _is_count(value: object, max_count: int) -> bool:
    return value is None or (type(value) is int and 1 <= value <= max_count)


def _is_retention(days: object) -> bool:
    if days is None:
        return True
    return (
        isinstance(days, int | float)
        and not isinstance(days, bool)
        and MIN_RETENTION_DAYS <= days <= MAX_RETENTION_DAYS
    )


def refuse(slug: str, reasons: list[str]) -> None:
    """Raise `HandlerError` with the reasons, if there are any."""
    if reasons:
        raise HandlerError(f"Worker {slug!r}: {'; '.join(reasons)}.")


def read_limits(
    slug: str, max_running: int | None, max_running_per: str | None, rate: str | None, rate_per: str | None
) -> WorkerLimits:
    """Return the declared limits. Raise `HandlerError` if one is invalid."""
    wrong = []
    if max_running is not None and (isinstance(max_running, bool) or max_running not in range(_MAX_RUNNING + 1)):
        wrong.append(f"max_running must be a whole number from 0 to {_MAX_RUNNING}")
    for name, per, limit in (("max_running", max_running_per, max_running), ("rate", rate_per, rate)):
        if per is not None and limit is None:
            wrong.append(f"{name}_per needs {name}")
        if per is not None and not (isinstance(per, str) and _PER.fullmatch(per)):
            wrong.append(f'{name}_per must be "tenant" or a path such as "input.account.id"')
    parsed = None
    if rate is not None:
        try:
            parsed = rates.parse(rate)
        except ValueError as error:
            wrong.append(f"rate: {error}")
    if wrong:
        raise HandlerError(f"Worker {slug!r}: {'; '.join(wrong)}.")
    return WorkerLimits(max_running=max_running, max_running_per=max_running_per, rate=parsed, rate_per=rate_per)


def read_approval(slug: str, approval: object) -> str | None:
    """Return the declared approval as JSON. Raise `HandlerError` if it is invalid."""
    if approval is None:
        return None
    # Imported lazily: few handler modules need it.
    from ava.domain.approval_rule import rule_json

    try:
        return rule_json(approval)
    except ValueError as error:
        raise HandlerError(f"Worker {slug!r}: approval: {error}.") from error
