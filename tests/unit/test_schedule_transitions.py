"""Slots around changes of clocks, against the oracle that looks at every minute. `every_transition.py` looks at all."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from ava.domain.schedules import schedule
from ava.domain.schedules.schedule import FiringTime

from . import cron_oracle as oracle

#: Zones whose clocks change each year, some by rules of their own: by half an hour, at midnight, around Ramadan.
_CHANGING = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Gaza",
    "Pacific/Chatham",
]
_NAMES = st.one_of(st.sampled_from(_CHANGING), st.sampled_from(_CHANGING), st.sampled_from(sorted(oracle.zones())))


def firing_times(pattern: oracle.Pattern, name: str, start: datetime, end: datetime) -> list[FiringTime]:
    """Returns the firing times after an instant, up to another."""
    return list(takewhile(lambda each: each.at <= end, schedule.firing_times_after(pattern.cron, name, start)))


# A fifth more than the profile's number, which is 100 in `make test`.
@settings(max_examples=settings().max_examples * 6 // 5)
@given(name=_NAMES, year=st.integers(2000, 2037), pattern=oracle.patterns())
def test_slots_around_each_change_of_a_clock_are_those_of_the_oracle(
    name: str, year: int, pattern: oracle.Pattern
) -> None:
    for shift in oracle.shifts(name, year, year):
        seen = oracle.window(name, shift)
        found = firing_times(pattern, name, seen.start, seen.end)
        assert [(each.at, each.local_time, each.note) for each in found] == oracle.expected(pattern, seen)


@given(name=_NAMES, year=st.integers(2000, 2037), pattern=oracle.patterns(), minutes=st.integers(-90, 90))
def test_a_walk_from_any_minute_finds_the_rest_of_an_earlier_walk(
    name: str, year: int, pattern: oracle.Pattern, minutes: int
) -> None:
    for shift in oracle.shifts(name, year, year):
        end, middle = shift + oracle.MARGIN, shift + timedelta(minutes=minutes)
        whole = firing_times(pattern, name, shift - oracle.MARGIN, end)
        assert firing_times(pattern, name, middle, end) == [each for each in whole if each.at > middle]
