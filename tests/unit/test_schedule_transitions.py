"""Slots around changes of clocks, against the oracle that looks at every minute. `every_transition.py` looks at all."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from ava.domain import schedule

from . import cron_oracle as oracle

#: Zones with rules of their own: half an hour, no summer, a skipped day, midnight, two changes within Ramadan.
_ODD = ["Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "America/Havana", "Africa/Casablanca", "Asia/Gaza"]
_NAMES = st.one_of(st.sampled_from(sorted(oracle.zones())), st.sampled_from(_ODD))


@settings(max_examples=150, deadline=None)
@given(name=_NAMES, year=st.integers(2000, 2037), pattern=oracle.patterns())
def test_slots_around_each_change_of_a_clock_are_those_of_the_oracle(
    name: str, year: int, pattern: oracle.Pattern
) -> None:
    for shift in oracle.shifts(name, year, year):
        seen = oracle.window(name, shift)
        walked = takewhile(lambda slot: slot.at <= seen.end, schedule.slots_after(pattern.text, name, seen.start))
        assert [(slot.at, slot.slot, slot.note) for slot in walked] == oracle.expected(pattern, seen)


@settings(max_examples=100, deadline=None)
@given(name=_NAMES, year=st.integers(2000, 2037), pattern=oracle.patterns(), minutes=st.integers(-300, 300))
def test_a_walk_from_any_minute_finds_the_rest_of_an_earlier_walk(
    name: str, year: int, pattern: oracle.Pattern, minutes: int
) -> None:
    for shift in oracle.shifts(name, year, year):
        end, middle = shift + oracle.MARGIN, shift + timedelta(minutes=minutes)
        walk = schedule.slots_after(pattern.text, name, shift - oracle.MARGIN)
        whole = list(takewhile(lambda slot: slot.at <= end, walk))
        rest = list(takewhile(lambda slot: slot.at <= end, schedule.slots_after(pattern.text, name, middle)))
        assert rest == [slot for slot in whole if slot.at > middle]
