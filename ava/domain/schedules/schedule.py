"""The firing times of a cron pattern in a time zone of `tzdata`, and of an interval below a minute.

A *firing time* is a local time that the pattern names. With a fixed hour field, i.e. without a leading `*`, each occurs
exactly once: in a gap (clocks go forward) at the first instant after it, where several lost times are merged; in an
overlap (clocks go back) at the first of the two instants. With an hour field that begins with `*`, the pattern is a
*cadence*: it occurs at every real instant with a local time that it names, i.e. never in a gap and twice in an overlap.

`cronsim` yields local times without a time zone; this module maps them to instants.

The operating system's time zones are ignored: machines of one installation may have different releases of them, and
their dispatchers would disagree about the instant of a firing time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Annotated
from zoneinfo import ZoneInfo

import tzdata

from ava.domain.record import about
from ava.domain.schedules.cron import LAST_YEAR, CronPattern, in_words, parse_cron

#: The database's placeholder for "not configured yet"; not valid for schedules.
_PLACEHOLDER = "Factory"
#: Max characters of an unknown name that an error repeats.
_LONGEST_SHOWN = 60


@cache
def timezone_names() -> frozenset[str]:
    """Return all names in the database, including aliases such as `Asia/Calcutta`."""
    names = resources.files(tzdata).joinpath("zones").read_text("utf-8").split()
    return frozenset(names) - {_PLACEHOLDER}


@cache
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in timezone_names()}


def check_timezone(name: str) -> None:
    """Raise `ValueError` if the database has no such time zone. Aliases are valid."""
    if name in timezone_names():
        return
    meant = _by_lower_case().get(name.lower()) if len(name) <= _LONGEST_SHOWN else None
    cure = f"did you mean {meant}?" if meant else "send a name such as Europe/Berlin or UTC"
    raise ValueError(f"{name[:_LONGEST_SHOWN]!r} is not a time zone of the IANA database; {cure}")


@cache
def zone(name: str) -> ZoneInfo:
    """Return a time zone. Raise `ValueError` if it does not exist."""
    # Only a listed name becomes a path, so client input cannot lead outside the package.
    check_timezone(name)
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def timezone_data_version() -> str:
    """Return the release of the time zone database, such as `2026a`."""
    return str(tzdata.IANA_VERSION)


def format_local_time(local_time: datetime) -> str:
    """Return a local time as clients see it, such as `2026-10-25T02:30`."""
    return local_time.isoformat(timespec="minutes" if not local_time.second else "seconds")


class Note(StrEnum):
    """Why the clocks of a time zone make a local time special."""

    GAP = "gap"
    OVERLAP = "overlap"


#: The facts of the field `slot`.
SLOT = about("The local time, without an offset.", example="2026-10-25T02:30")
_NOTE = about(
    "`gap`: clocks go forward and skip this local time; `overlap`: clocks go back and this local time occurs twice."
)
#: Earlier instants have no local time in some time zones.
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: No time zone's clock goes back by more, or changes twice within this time (tested for 2000 to 2037).
_LONGEST_OVERLAP = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FiringTime:
    """A local time that a pattern names, and its instant.

    The firing times of a pattern have distinct `local_time`, except in the overlap of a cadence, where the second has
    `fold` 1. They have distinct `at`, except at the end of a gap: the merged lost times share the instant with the
    firing time of that very minute.
    """

    #: The local time, without a time zone. Of merged lost times, the first.
    local_time: datetime = field(metadata={"internal": True})
    at: datetime
    note: Note | None = field(metadata=_NOTE)

    @property
    def slot(self) -> Annotated[str, SLOT]:
        return format_local_time(self.local_time)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The meaning of a pattern in a time zone."""

    description: str = field(metadata=about("The cron pattern, or the interval, in words."))
    next: Sequence[FiringTime]


def check_cron(cron: str) -> None:
    """Raise `CronError` if the pattern is invalid, or names no existing date."""
    parse_cron(cron)


def firing_times_after(cron: str, timezone: str, after: datetime) -> Iterator[FiringTime]:
    """Yield the firing times after an instant, by their instants, from the year 1900 to the year 9900.

    Firing times with the same instant (see `FiringTime`) are adjacent.

    Raise `CronError` for an invalid pattern and `ValueError` for an unknown time zone, before the first one.
    """
    pattern, zone_info = parse_cron(cron), zone(timezone)
    walk = _cadence_times if pattern.is_cadence else _fixed_times
    if after.year > LAST_YEAR:
        return iter(())
    return walk(pattern, zone_info, max(after, _EARLIEST).astimezone(UTC))


def multiples_after(every_seconds: int, after: datetime) -> Iterator[FiringTime]:
    """Yield the multiples of an interval since the Unix epoch after an instant, until the year 9900."""
    interval = timedelta(seconds=every_seconds)
    at = _EPOCH + ((after - _EPOCH) // interval + 1) * interval
    while at.year <= LAST_YEAR:
        yield FiringTime(at.replace(tzinfo=None), at, None)
        at += interval


def describe_interval(every_seconds: int) -> str:
    """Return a description such as `Every 10 seconds`."""
    return "Every second" if every_seconds == 1 else f"Every {every_seconds} seconds"


def describe(cron: str, timezone: str) -> str:
    """Return a description such as `Every weekday at 09:30, Berlin time`. Raise like `firing_times_after`."""
    pattern = parse_cron(cron)
    check_timezone(timezone)
    return f"{in_words(pattern)}, {_city_time(timezone)}"


def _city_time(timezone: str) -> str:
    area, _, city = timezone.rpartition("/")
    if not area or area.startswith("Etc"):
        return timezone if timezone in ("UTC", "GMT") else f"{timezone} time"
    return f"{city.replace('_', ' ')} time"


def _fixed_times(pattern: CronPattern, zone_info: ZoneInfo, after: datetime) -> Iterator[FiringTime]:
    gap_end = None
    for local_time in pattern.local_times(_local(after, zone_info)):
        first, second = _offsets(local_time, zone_info)
        note: Note | None = None
        if first >= second:
            at, note = _instant(local_time, first), Note.OVERLAP if first > second else None
        else:
            at, note = _end_of_gap(local_time, zone_info, first, second), Note.GAP
            if at == gap_end:
                continue
            gap_end = at
        # `cronsim` repeats the local times of an overlap if `after` is in its second hour.
        if at > after:
            yield FiringTime(local_time, at, note)


def _cadence_times(pattern: CronPattern, zone_info: ZoneInfo, after: datetime) -> Iterator[FiringTime]:
    #: The second instants of an overlap, until later local times follow.
    again: deque[FiringTime] = deque()
    for local_time in pattern.local_times(_local(after, zone_info) - _clock_goes_back(after, zone_info)):
        first, second = _offsets(local_time, zone_info)
        if first < second:
            continue
        at = _instant(local_time, first)
        while again and again[0].at < at:
            yield again.popleft()
        note: Note | None = None
        if first > second:
            note = Note.OVERLAP
            if (at_again := _instant(local_time, second)) > after:
                again.append(FiringTime(local_time.replace(fold=1), at_again, note))
        if at > after:
            yield FiringTime(local_time, at, note)
    yield from again


def _local(instant: datetime, zone_info: ZoneInfo) -> datetime:
    return instant.astimezone(zone_info).replace(tzinfo=None, fold=0)


def _clock_goes_back(after: datetime, zone_info: ZoneInfo) -> timedelta:
    """Return by how much the clock goes back soon after an instant, so that local times before it repeat."""
    return max(_offset(after, zone_info) - _offset(after + _LONGEST_OVERLAP, zone_info), timedelta(0))


def _offset(instant: datetime, zone_info: ZoneInfo) -> timedelta:
    return instant.astimezone(zone_info).utcoffset() or timedelta(0)


def _offsets(local_time: datetime, zone_info: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the offsets before and after the clock change near a local time.

    They are equal if it exists once; the first is larger if it exists twice, smaller if it does not exist (PEP 495).
    """
    there = local_time.replace(tzinfo=zone_info)
    return there.utcoffset() or timedelta(0), there.replace(fold=1).utcoffset() or timedelta(0)


def _instant(local_time: datetime, offset: timedelta) -> datetime:
    return (local_time - offset).replace(tzinfo=UTC)


def _end_of_gap(local_time: datetime, zone_info: ZoneInfo, before: timedelta, behind: timedelta) -> datetime:
    """Return the first instant, to the second, after a nonexistent local time."""
    early, late = _instant(local_time, behind), _instant(local_time, before)
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
        if _local(middle, zone_info) > local_time:
            late = middle
        else:
            early = middle
    return late
