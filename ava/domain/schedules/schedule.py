"""Schedules: the instants that a cron pattern names in a time zone.

The rule. A *firing time* is a local time that the pattern names. If the hour field is fixed, i.e. does not begin with
`*`, each comes exactly once: in a gap (clocks go forward) at the first instant after it, several lost ones together
once; in an overlap (clocks go back) at the first of the two instants. If the hour field begins with `*`, the pattern is
a *cadence*: it comes at every real instant whose local time it names, i.e. never in a gap and twice in an overlap.

`cronsim` walks over local times without a zone; this module maps them to instants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from ava.domain.schedules.cron import LAST_YEAR, CronPattern, parse_cron
from ava.domain.schedules.cron_words import in_words
from ava.domain.schedules.time_zones import check_timezone, zone

Note = Literal["gap", "overlap"]

#: Earlier instants have no local time in each zone.
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
#: No zone's clock goes back by more, and none changes twice within it (tested for 2000 to 2037).
_LONGEST_OVERLAP = timedelta(days=1)


class FiringTime(NamedTuple):
    """A local time that a pattern names, and the instant at which it comes.

    The firing times of a pattern differ in `local_time`, except in the overlap of a cadence: there each local time
    comes twice, the second time with 1 as the `fold` of `local_time`. They differ in `at`, except at the end of a gap:
    the lost ones come together at that instant, and the firing time of that very minute comes beside them.
    """

    #: The local time, without a zone. Of several lost ones that come together, the first.
    local_time: datetime
    #: The instant, in UTC.
    at: datetime
    #: `gap` if the local time does not exist, `overlap` if it exists twice.
    note: Note | None


def check_cron(cron: str) -> None:
    """Raises `CronError` if a text is no cron pattern of five fields, or names no date that exists."""
    parse_cron(cron)


def firing_times_after(cron: str, timezone: str, after: datetime) -> Iterator[FiringTime]:
    """Yields the firing times that come after an instant, by their instants, from the year 1900 to the year 9900.

    Those of one instant (see `FiringTime`) come one after the other, so that one walk meets both.

    Raises `CronError` for a wrong pattern and `ValueError` for an unknown zone, both before the first one.
    """
    pattern, place = parse_cron(cron), zone(timezone)
    walk = _cadence_times if pattern.is_cadence else _fixed_times
    if after.year > LAST_YEAR:
        return iter(())
    return walk(pattern, place, max(after, _EARLIEST).astimezone(UTC))


def describe(cron: str, timezone: str) -> str:
    """Returns the pattern in words, such as `Every weekday at 09:30, Berlin time`. Raises like `firing_times_after`."""
    pattern = parse_cron(cron)
    check_timezone(timezone)
    return f"{in_words(pattern)}, {_place_name(timezone)}"


def _place_name(timezone: str) -> str:
    area, _, place = timezone.rpartition("/")
    if not area or area.startswith("Etc"):
        return timezone if timezone in ("UTC", "GMT") else f"{timezone} time"
    return f"{place.replace('_', ' ')} time"


def _fixed_times(pattern: CronPattern, place: ZoneInfo, after: datetime) -> Iterator[FiringTime]:
    gap_end = None
    for local_time in pattern.local_times(_local(after, place)):
        first, second = _offsets(local_time, place)
        note: Note | None = None
        if first >= second:
            at, note = _instant(local_time, first), "overlap" if first > second else None
        else:
            at, note = _end_of_gap(local_time, place, first, second), "gap"
            if at == gap_end:
                continue
            gap_end = at
        # The walk passes an overlap's local times once more if `after` is in its second hour.
        if at > after:
            yield FiringTime(local_time, at, note)


def _cadence_times(pattern: CronPattern, place: ZoneInfo, after: datetime) -> Iterator[FiringTime]:
    #: The second instants of an overlap, until the walk reaches what comes later.
    again: deque[FiringTime] = deque()
    for local_time in pattern.local_times(_local(after, place) - _clock_goes_back(after, place)):
        first, second = _offsets(local_time, place)
        if first < second:
            continue
        at = _instant(local_time, first)
        while again and again[0].at < at:
            yield again.popleft()
        note: Note | None = None
        if first > second:
            note = "overlap"
            if (at_again := _instant(local_time, second)) > after:
                again.append(FiringTime(local_time.replace(fold=1), at_again, note))
        if at > after:
            yield FiringTime(local_time, at, note)
    yield from again


def _local(instant: datetime, place: ZoneInfo) -> datetime:
    return instant.astimezone(place).replace(tzinfo=None, fold=0)


def _clock_goes_back(after: datetime, place: ZoneInfo) -> timedelta:
    """Returns by how much the clock goes back soon after an instant: local times before it then come again."""
    return max(_offset(after, place) - _offset(after + _LONGEST_OVERLAP, place), timedelta(0))


def _offset(instant: datetime, place: ZoneInfo) -> timedelta:
    return instant.astimezone(place).utcoffset() or timedelta(0)


def _offsets(local_time: datetime, place: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Returns the offsets before and after the change of the clock that a local time belongs to.

    They are equal if it exists once; the first is larger if it exists twice, smaller if it does not exist (PEP 495).
    """
    there = local_time.replace(tzinfo=place)
    return there.utcoffset() or timedelta(0), there.replace(fold=1).utcoffset() or timedelta(0)


def _instant(local_time: datetime, offset: timedelta) -> datetime:
    return (local_time - offset).replace(tzinfo=UTC)


def _end_of_gap(local_time: datetime, place: ZoneInfo, before: timedelta, behind: timedelta) -> datetime:
    """Returns the first instant whose local time is later than a local time that does not exist, to the second."""
    early, late = _instant(local_time, behind), _instant(local_time, before)
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
        if _local(middle, place) > local_time:
            late = middle
        else:
            early = middle
    return late
