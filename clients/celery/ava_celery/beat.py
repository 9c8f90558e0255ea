"""Convert the entries of an application's beat into schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.schedules import crontab, schedule, solar

from ava.client.slugs import slug_of
from ava_celery import workers

_DAY = 86_400
#: The options of an entry that schedules support too.
_KNOWN_OPTIONS = frozenset({"expires", "queue"})
#: A field of a pattern that is a step.
_STEP = re.compile(r"\*(?:/(?P<step>[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, kw_only=True)
class BeatEntry:
    """One entry of beat."""

    name: str
    worker_id: str = ""
    cron: str | None = None
    timezone: str | None = None
    #: In place of both, below a minute.
    every_seconds: int | None = None
    input: Mapping[str, Any] | None = None
    expires_in_seconds: int | None = None
    #: Why it cannot be a schedule here; None if it can.
    fault: str | None = None

    @property
    def timing(self) -> str:
        """Return when it fires, in one line."""
        return f"every {self.every_seconds} s" if self.every_seconds else f"{self.cron} {self.timezone}"


def entries(app: Celery) -> Iterator[BeatEntry]:
    """Yield the entries of `beat_schedule` and of `add_periodic_task`, sorted by name."""
    for name, given in sorted(dict(app.conf.beat_schedule).items()):
        try:
            yield _entry(app, str(name), given)
        except ValueError as error:
            yield BeatEntry(name=str(name), fault=str(error))


def _entry(app: Celery, name: str, given: Mapping[str, Any]) -> BeatEntry:
    task = app.tasks.get(given["task"])
    if task is None:
        raise ValueError(f"the application has no task {given['task']!r}")
    options = given.get("options") or {}
    if others := sorted(options.keys() - _KNOWN_OPTIONS):
        raise ValueError(f"its options {', '.join(others)} have no counterpart; create the schedule by hand")
    if (queue := options.get("queue")) not in (None, workers.queue_of(app, task)):
        raise ValueError(f"its queue {queue!r} differs from its task's; here a worker has one queue")
    return BeatEntry(
        name=name,
        worker_id=f"wkr_{slug_of(task.name)}",
        **_timing(app, given["schedule"]),
        input=_input(given),
        expires_in_seconds=_expires_in_seconds(options.get("expires")),
    )


def _input(given: Mapping[str, Any]) -> Mapping[str, Any]:
    input = {"args": list(given.get("args") or ()), "kwargs": dict(given.get("kwargs") or {})}
    try:
        json.dumps(input, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its arguments are not JSON: {error}") from error
    return input


def _timing(app: Celery, given: Any) -> dict[str, Any]:
    """Return the cron pattern and the time zone of a Celery schedule, or its interval. Raises ValueError."""
    if isinstance(given, crontab):
        return {"cron": _pattern(given), "timezone": _timezone(app)}
    if isinstance(given, solar):
        raise ValueError(f"solar({given.event!r}) depends on the sun, and a schedule on the clock; use a crontab")
    if type(given) is schedule:
        given = given.run_every
    if isinstance(given, timedelta):
        given = given.total_seconds()
    if isinstance(given, int | float) and not isinstance(given, bool):
        if given in range(1, 60):
            return {"every_seconds": int(given)}
        return {"cron": _every(float(given)), "timezone": _timezone(app)}
    raise ValueError(f"a {type(given).__name__} cannot be written as a cron pattern")


def _pattern(given: crontab) -> str:
    day_of_month = _field(given._orig_day_of_month, given.day_of_month, 31)
    day_of_week = _field(given._orig_day_of_week, given.day_of_week, 7)
    if not day_of_month.startswith("*") and not day_of_week.startswith("*"):
        raise ValueError("Celery wants its day_of_month and its day_of_week together, crontab(5) either of them")
    minute, hour = _field(given._orig_minute, given.minute, 60), _field(given._orig_hour, given.hour, 24)
    return f"{minute} {hour} {day_of_month} {_field(given._orig_month_of_year, given.month_of_year, 12)} {day_of_week}"


def _field(field: Any, values: Iterable[int], span: int) -> str:
    """Return a field of a pattern: a step unchanged, otherwise the values to which Celery expands the field.

    Celery accepts full names of days and descending ranges, and cron does not. `span`: the number of possible values.
    """
    numbers = sorted({int(each) for each in values})
    step = _STEP.fullmatch(field) if isinstance(field, str) else None
    if step and int(step["step"] or 1) <= span:
        return step[0]
    return "*" if len(numbers) == span else ",".join(_ranges(numbers))


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Yield sorted numbers; three or more consecutive ones as a range."""
    first = 0
    for index in range(1, len(numbers) + 1):
        if index < len(numbers) and numbers[index] == numbers[index - 1] + 1:
            continue
        if index - first > 2:
            yield f"{numbers[first]}-{numbers[index - 1]}"
        else:
            yield from map(str, numbers[first:index])
        first = index


def _every(seconds: float) -> str:
    """Return the pattern of an interval that divides an hour or a day. Raises ValueError for another one."""
    minutes, rest = divmod(seconds, 60)
    if seconds < 60:
        raise ValueError(f"every {seconds:g} s: below a minute an interval has whole seconds, 1 to 59")
    if rest == 0 and 60 % minutes == 0 and minutes < 60:
        return f"*/{minutes:.0f} * * * *" if minutes > 1 else "* * * * *"
    if seconds % 3600 == 0 and _DAY % seconds == 0:
        hours = seconds // 3600
        return f"0 {'0' if hours == 24 else '*' if hours == 1 else f'*/{hours:.0f}'} * * *"
    raise ValueError(f"every {seconds:g} s divides neither an hour nor a day")


def _timezone(app: Celery) -> str:
    name = getattr(app.timezone, "key", None) or str(app.timezone)
    if name == "local":
        raise ValueError("the application's timezone is the machine's; set `timezone` to an IANA name")
    return str(name)


def _expires_in_seconds(expires: Any) -> int | None:
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if expires is None:
        return None
    if not isinstance(expires, int | float) or expires < 1 or expires != int(expires):
        raise ValueError(f"expires={expires!r} must be whole seconds")
    return int(expires)
