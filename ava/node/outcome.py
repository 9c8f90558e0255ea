"""Decide a run's outcome from the handler's return value or exception. No I/O."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import ava
from ava.domain.error_group import error_id
from ava.domain.jobs import retry
from ava.domain.jobs.job import Job
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.domain.jobs.waits import MAX_OUTPUT_BYTES, Wait
from ava.domain.limits import table as limits
from ava.domain.secrets.masking import SecretMask
from ava.domain.secrets.redaction import HIDDEN
from ava.domain.strings import one_line
from ava.errors import OutputError
from ava.handler.errors import (
    Interruption,
    JobCancelled,
    JobInterrupted,
    JobTimeout,
    MemoryExceeded,
    RateLimited,
    RetryLater,
    Suspended,
    SuspensionSwallowed,
)
from ava.handler.retry_rules import USUAL, RetryRules
from ava.handler.typed_values import is_typed, to_json

MIB = 1024 * 1024

#: Maximum digits of an integer that Python parses (`sys.int_info.default_max_str_digits`).
_MAX_DIGITS = 4_300
_TOO_LARGE = 10**_MAX_DIGITS
_MANY_DIGITS = re.compile(rf"[0-9]{{{_MAX_DIGITS + 1}}}")
_TOO_DEEP = "the output is nested too deep, or contains itself"
#: Folders of the frames between this service and a handler.
_OWN_FOLDERS = (str(Path(__file__).parent), str(Path(asyncio.__file__).parent))
#: Folders of frames outside the handler's own modules: this service, Python, packages.
_FOREIGN_FOLDERS = (
    str(Path(ava.__file__).parent),
    *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    "<frozen",
)


class Stop(StrEnum):
    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    MEMORY = "memory"
    #: Another run may already hold its job.
    LOST = "lost"

    def exception(self, exceeded: str = "") -> Interruption:
        """Return the error to raise in the handler. `exceeded`: describes the limit."""
        if self is Stop.TIMEOUT:
            return JobTimeout(exceeded)
        if self is Stop.MEMORY:
            return MemoryExceeded(exceeded)
        return JobCancelled() if self is Stop.CANCEL else JobInterrupted()


#: Of runs that exceeded a limit: the error, and the class that retry rules compare.
EXCEEDED: Mapping[Stop, tuple[str, type[Interruption]]] = {
    Stop.TIMEOUT: ("Timeout", JobTimeout),
    Stop.MEMORY: ("MemoryExceeded", MemoryExceeded),
}


def exceeded_message(
    stop: Stop, *, timeout_seconds: float, max_memory_mb: int = 0, peak_bytes: int | None = None
) -> str:
    """Describe the limit that a stopped run has exceeded."""
    if stop is Stop.MEMORY:
        return f"{in_mb(peak_bytes) or 0} of {max_memory_mb} MiB"
    return f"exceeded {timeout_seconds:g} s"


def in_mb(count: int | None) -> int | None:
    """Return bytes in whole MiB, rounded up."""
    return None if count is None else math.ceil(count / MIB)


class Retirement(IntEnum):
    """Exit codes of a process that has written the end of its run and must not start another.

    They encode the run's outcome, because such a process does not report to Celery. Programs rarely use these numbers.
    """

    COMPLETED = 211
    FAILED = 212
    #: Cancelled, or returned to the queue by a shutdown or a wait.
    STOPPED = 213

    @classmethod
    def after(cls, run_end: RunOutcome | None) -> Retirement:
        """Return the exit code after a run's outcome; None: the run was interrupted or has lost its job."""
        if run_end is None or run_end.ending in (Ending.CANCELLED, Ending.WAITED):
            return cls.STOPPED
        return cls.COMPLETED if run_end.ending is Ending.COMPLETED else cls.FAILED


def decide(  # noqa: PLR0913 - each is a fact about one run
    job: Job,
    *,
    stop: Stop | None,
    raised: BaseException | None,
    output: Any,
    exceeded: str,
    elapsed_ms: int,
    draw: float,
    mask: SecretMask | None = None,
    wait: Wait | None = None,
    retries: RetryRules = USUAL,
) -> RunOutcome | None:
    """Decide a run's outcome from its handler's return value or exception.

    `draw` (0 to 1) is the random number for the retry's jitter. `exceeded` describes the exceeded limit of a stopped
    run. `mask` replaces the run's secrets in its output, its error, the reason of a deferral and the stored record of
    an awaited event. `wait`: why the handler was suspended. `retries`: the rules of its worker.

    Returns None if a shutdown interrupted the run or it has lost its job: then no outcome is written.
    """
    if stop in (Stop.SHUTDOWN, Stop.LOST):
        return None
    if stop is None and isinstance(raised, RetryLater):
        return RunOutcome(
            run=job.run,
            ending=Ending.DEFERRED,
            elapsed_ms=elapsed_ms,
            delay_seconds=raised.seconds,
            reason=one_line(raised.reason if mask is None else mask.string(raised.reason)),
            is_rate_limited=isinstance(raised, RateLimited),
        )
    if stop is None and wait is not None:
        if isinstance(raised, Suspended):
            return RunOutcome(run=job.run, ending=Ending.WAITED, elapsed_ms=elapsed_ms, wait=_masked_wait(wait, mask))
        raised = raised or SuspensionSwallowed()
    delay_seconds: float | None = None
    if stop is Stop.CANCEL:
        ending, output_json, error = Ending.CANCELLED, _output_if_valid(raised, output), None
    else:
        output_json, error = _output_or_error(stop, raised, output, exceeded, mask)
        ending = Ending.COMPLETED if error is None else Ending.FAILED
    # A timeout stays a timeout, whatever the handler raised because of it. Without an error, the output was invalid.
    bound = None if stop is None else EXCEEDED.get(stop)
    cause = raised or OutputError() if bound is None else bound[1]()
    is_repeated = retry.may_retry(attempt=job.attempt, max_attempts=job.max_attempts) and retries.allow(cause)
    if ending is Ending.FAILED and is_repeated:
        ending, error = Ending.RETRIED, None
        delay_seconds = retries.delay_seconds(cause, attempt=job.attempt, draw=draw)
    return RunOutcome(
        run=job.run,
        ending=ending,
        elapsed_ms=elapsed_ms,
        output_json=_masked(output_json, mask),
        error=error,
        error_id=_error_id(job, error, raised) if ending is Ending.FAILED and error is not None else None,
        delay_seconds=delay_seconds,
    )


def _error_id(job: Job, error: str, raised: BaseException | None) -> str:
    place = "" if raised is None else find_place(raised)
    return str(error_id(tenant_id=job.tenant_id, worker_id=job.worker_id, error=error, place=place))


def find_place(error: BaseException) -> str:
    """Return the module, function and line of the handler's own innermost frame; empty without one. Never raises."""
    place = ""
    try:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if not frame.f_code.co_filename.startswith(_FOREIGN_FOLDERS):
                place = f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}:{line}"
    except BaseException:
        return ""
    return place


def _output_or_error(
    stop: Stop | None, raised: BaseException | None, output: Any, exceeded: str, mask: SecretMask | None
) -> tuple[str | None, str | None]:
    if stop is not None and stop in EXCEEDED:
        return None, f"{EXCEEDED[stop][0]}: {exceeded}"
    if raised is not None:
        return None, explain(raised, mask)
    try:
        return encode_output(output), None
    except OutputError as problem:
        return None, explain(problem, mask)


def _masked_wait(wait: Wait, mask: SecretMask | None) -> Wait:
    # The journal keeps the whole event, because events are compared with it.
    if mask is None or wait.event is None:
        return wait
    return replace(wait, event=mask.value(dict(wait.event)))


def _masked(output_json: str | None, mask: SecretMask | None) -> str | None:
    if output_json is None or mask is None:
        return output_json
    masked = mask.json_string(output_json)
    # A mask is longer than a short secret.
    return masked if len(masked) <= MAX_OUTPUT_BYTES else json.dumps(HIDDEN)


def _output_if_valid(raised: BaseException | None, output: Any) -> str | None:
    if raised is not None or output is None:
        return None
    try:
        return encode_output(output)
    except OutputError:
        return None


def explain(error: BaseException, mask: SecretMask | None = None) -> str:
    """Return an exception as one line, `Kind: reason`, without secrets, even if its `str()` fails or exits."""
    try:
        # An exact `str`: a subclass may override its formatting.
        reason = str.__add__(str(error), "")
    except BaseException:
        reason = "(its message cannot be shown)"
    if isinstance(error, SystemExit):
        reason = f"the handler called sys.exit({reason})"
    reason_line = f"{_kind(error)}: {reason or '(no message)'}"
    # Mask before truncation, because a truncated secret would not be found.
    return one_line(reason_line if mask is None else mask.string(reason_line))


def _kind(error: BaseException) -> str:
    # Bypass a metaclass that defines `__name__`.
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def format_traceback(error: BaseException) -> str:
    """Return the traceback of a handler's exception, from the handler's own first line on. Never raises."""
    try:
        lines = traceback.format_exception(type(error), error, _without_own_frames(error.__traceback__))
        return "".join(lines).rstrip()
    except BaseException:
        return f"The traceback of {explain(error)} cannot be shown"


def _without_own_frames(whole: TracebackType | None) -> TracebackType | None:
    """Return the traceback without this service's frames above the handler."""
    part = whole
    while part is not None and part.tb_frame.f_code.co_filename.startswith(_OWN_FOLDERS):
        part = part.tb_next
    return part or whole


def encode_output(output: Any) -> str:
    """Return a handler's return value as a JSON string. A dataclass, Struct or model in it becomes an object.

    Raises `OutputError`, which names the part that JSON cannot represent, or reports that the output is too large.
    """
    try:
        output_json = json.dumps(output, allow_nan=False, separators=(",", ":"), default=_plain)
    except BaseException as error:
        raise OutputError(_fault_of(output, error)) from None
    if len(output_json) > MAX_OUTPUT_BYTES:
        raise OutputError(f"the output is {len(output_json)} bytes of JSON, more than the limit of {MAX_OUTPUT_BYTES}")
    if output_json.count("[") + output_json.count("{") > limits.NESTING.value and _is_too_deep(output):
        raise OutputError(_TOO_DEEP)
    if _MANY_DIGITS.search(output_json) and (fault := _find_fault(output)) is not None:
        raise OutputError(fault)
    return output_json


def _plain(value: Any) -> Any:
    """Return a typed value as JSON, and any other value unchanged, which `json` refuses."""
    return to_json(value) if is_typed(value) else value


def _fault_of(output: Any, error: BaseException) -> str:
    """Describe the fault of an output that cannot be encoded, although its own code may raise again."""
    try:
        fault = _find_fault(output)
    except BaseException:
        fault = None
    return fault or f"the output cannot be written as JSON: reading it raised {_kind(error)}"


def _is_too_deep(output: Any) -> bool:
    """Return True if an output nests deeper than a body may; Python's own limit differs between releases."""
    inside = [_plain(output)]
    for _ in range(limits.NESTING.value):
        values = (part for each in inside for part in (each.values() if isinstance(each, dict) else each))
        inside = [part for part in map(_plain, values) if isinstance(part, dict | list | tuple)]
        if not inside:
            return False
    return True


def _find_fault(output: Any) -> str | None:
    """Describe the first part of an output that JSON cannot represent; None if there is none."""
    waiting: list[tuple[str, Any, int]] = [("output", output, 0)]
    while waiting:
        path, found, depth = waiting.pop()
        value = _plain(found)
        if depth > limits.NESTING.value:
            return _TOO_DEEP
        if isinstance(value, dict):
            wrong_key = next((key for key in value if not isinstance(key, str | int | float | bool | None)), None)
            if wrong_key is not None:
                return f"{path} has a key of type {type(wrong_key).__name__}; JSON allows only strings"
            waiting += [(f"{path}.{key}", part, depth + 1) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{path}[{n}]", part, depth + 1) for n, part in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            return f"{path} is {value}, which JSON cannot represent"
        elif isinstance(value, int) and not -_TOO_LARGE < value < _TOO_LARGE:
            return f"{path} is an integer of more than {_MAX_DIGITS} digits, which few programs read"
        elif not isinstance(value, str | int | float | bool | None):
            return f"{path} is of type {type(value).__name__}, which JSON cannot represent"
    return None
