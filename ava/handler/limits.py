"""The limits that a handler's author declares with `@worker(max_running=…, rate=…)`."""

from __future__ import annotations

import re

from ava.domain.limits import rates
from ava.domain.worker import WorkerLimits
from ava.errors import HandlerError

_MAX_RUNNING = 1_000_000
_PER = re.compile(r"tenant|input(\.[^.\x00]{1,64}){1,8}")


def read(
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
