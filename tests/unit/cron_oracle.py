"""What cron patterns mean, minute by minute: written from the rule alone, to be compared with `domain.schedules`.

It knows no offsets and no folds. It reads the local clock at every minute of a window, and looks which minutes a
pattern names. Patterns are of `patterns()`: sets of numbers, so that it needs no parser.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata
from hypothesis import strategies as st

MINUTE = timedelta(minutes=1)
#: What is compared around each change of a clock, on both sides.
MARGIN = timedelta(hours=30)


@dataclass(frozen=True)
class Pattern:
    """A pattern: its text, and what each of its fields holds."""

    cron: str
    minutes: frozenset[int]
    hours: frozenset[int]
    is_day: Callable[[datetime], bool]
    is_cadence: bool

    def names(self, local: datetime) -> bool:
        """Returns True if the pattern names a local time."""
        return local.minute in self.minutes and local.hour in self.hours and self.is_day(local)


# Zones and the changes of their clocks ---------------------------------------------------------------------------


@cache
def zones() -> dict[str, list[str]]:
    """Returns the zones that differ, each with the other names of the same data."""
    root = resources.files(tzdata)
    by_data: dict[bytes, list[str]] = {}
    for name in root.joinpath("zones").read_text().split():
        by_data.setdefault(root.joinpath("zoneinfo", *name.split("/")).read_bytes(), []).append(name)
    return {names[0]: names[1:] for names in by_data.values()}


@cache
def zone_of(name: str) -> ZoneInfo:
    """Returns a zone of the tzdata package."""
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def shifts(name: str, first_year: int, last_year: int) -> Iterator[datetime]:
    """Yields the instants at which a zone's clock jumps, by looking at it once in three hours."""
    zone = zone_of(name)
    late, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    offset = late.astimezone(zone).utcoffset()
    while late < end:
        early, late = late, late + timedelta(hours=3)
        if (later := late.astimezone(zone).utcoffset()) == offset:
            continue
        found = late
        while found - early > MINUTE:
            middle = early + (found - early) // MINUTE // 2 * MINUTE
            early, found = (middle, found) if middle.astimezone(zone).utcoffset() == offset else (early, middle)
        yield found
        offset = later


# The rule --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """The minutes around a change of a clock: each instant with the local time that the clock shows."""

    start: datetime
    end: datetime
    clock: list[tuple[datetime, datetime]]


def window(name: str, shift: datetime) -> Window:
    """Returns the minutes around an instant."""
    zone, start = zone_of(name), shift - MARGIN
    instants = [start + MINUTE * count for count in range(2 * MARGIN // MINUTE)]
    clock = [(instant, instant.astimezone(zone).replace(tzinfo=None, fold=0)) for instant in instants]
    return Window(start, instants[-1], clock)


ExpectedSlot = tuple[datetime, datetime, str | None]


def expected(pattern: Pattern, seen: Window) -> list[ExpectedSlot]:
    """Returns the firing times of a window that come after its first minute: the instant, the local time, the note."""
    shown: dict[datetime, list[datetime]] = {}
    for instant, local in seen.clock:
        shown.setdefault(local, []).append(instant)
    found = (_cadence if pattern.is_cadence else _fixed)(pattern, seen, shown)
    return sorted(each for each in found if seen.start < each[0] <= seen.end)


def _cadence(pattern: Pattern, seen: Window, shown: dict[datetime, list[datetime]]) -> Iterator[ExpectedSlot]:
    for instant, local in seen.clock:
        if pattern.names(local):
            yield instant, local, "overlap" if len(shown[local]) > 1 else None


def _fixed(pattern: Pattern, seen: Window, shown: dict[datetime, list[datetime]]) -> Iterator[ExpectedSlot]:
    local, last = seen.clock[0][1], seen.clock[-1][1]
    gap_ends = set()
    for count in range((last - local) // MINUTE + 1):
        named = local + count * MINUTE
        if not pattern.names(named):
            continue
        if named in shown:
            yield shown[named][0], named, "overlap" if len(shown[named]) > 1 else None
            continue
        gap_end = next(instant for instant, time in seen.clock if time > named)
        if gap_end not in gap_ends:
            yield gap_end, named, "gap"
        gap_ends.add(gap_end)


# Patterns --------------------------------------------------------------------------------------------------------


def _numbers(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """Returns terms without a star: numbers, ranges, steps, lists."""
    number = st.integers(low, high)
    one = number.map(lambda value: (str(value), frozenset({value})))
    ends = st.tuples(number, number).map(sorted)
    several = st.tuples(ends, st.integers(1, high - low + 1)).map(
        lambda drawn: (
            f"{drawn[0][0]}-{drawn[0][1]}" + (f"/{drawn[1]}" if drawn[1] > 1 else ""),
            frozenset(range(drawn[0][0], drawn[0][1] + 1, drawn[1])),
        )
    )
    return st.lists(st.one_of(one, several), min_size=1, max_size=3).map(
        lambda terms: (",".join(cron for cron, _ in terms), frozenset().union(*(values for _, values in terms)))
    )


def _stars(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    steps = st.one_of(st.just(1), st.integers(1, 3), st.integers(1, high - low + 1))
    return steps.map(lambda step: ("*" if step == 1 else f"*/{step}", frozenset(range(low, high + 1, step))))


def _last_day(day: datetime) -> int:
    return calendar.monthrange(day.year, day.month)[1]


#: Days as text of both day fields. Most patterns run on all days, because the window has only three.
_DAYS: list[tuple[str, str, Callable[[datetime], bool]]] = [
    ("*", "*", lambda day: True),
    ("*", "SUN", lambda day: day.isoweekday() == 7),
    ("*", "0,6", lambda day: day.isoweekday() > 5),
    ("*", "FRI-SUN", lambda day: day.isoweekday() >= 5),
    ("*", "0L", lambda day: day.isoweekday() == 7 and day.day + 7 > _last_day(day)),
    ("*", "7#2", lambda day: day.isoweekday() == 7 and 8 <= day.day <= 14),
    ("L", "*", lambda day: day.day == _last_day(day)),
    ("*/2", "SAT,SUN", lambda day: day.day % 2 == 1 and day.isoweekday() > 5),
    ("1,25-31", "SUN", lambda day: day.day == 1 or day.day >= 25 or day.isoweekday() == 7),
]


def patterns() -> st.SearchStrategy[Pattern]:
    """Returns patterns, most of them busy at night, when clocks are changed."""
    night = st.one_of(_numbers(0, 4), _numbers(0, 4), _numbers(0, 23), _numbers(22, 23))

    def build(
        minutes: tuple[str, frozenset[int]],
        hours: tuple[str, frozenset[int]],
        days: tuple[str, str, Callable[[datetime], bool]],
        months: tuple[str, frozenset[int]],
    ) -> Pattern:
        def is_day(day: datetime) -> bool:
            return day.month in months[1] and days[2](day)

        cron = f"{minutes[0]} {hours[0]} {days[0]} {months[0]} {days[1]}"
        return Pattern(cron, minutes[1], hours[1], is_day, hours[0].startswith("*"))

    all_days, all_months = st.just(_DAYS[0]), st.just(("*", frozenset(range(1, 13))))
    return st.builds(
        build,
        st.one_of(_numbers(0, 59), _stars(0, 59)),
        st.one_of(night, night, _stars(0, 23)),
        st.one_of(all_days, all_days, st.sampled_from(_DAYS)),
        st.one_of(all_months, all_months, all_months, _numbers(1, 12)),
    )
