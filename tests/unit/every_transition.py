"""Every change of every zone's clock from 2000 to 2037 against the oracle, with patterns drawn for each.

It takes about 20 minutes of one core, so `make test` does not collect it:

    .venv/bin/python -m pytest tests/unit/every_transition.py --timeout=0 -n 2
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from ava.domain.schedules import schedule

from . import cron_oracle as oracle
from .test_schedule_transitions import firing_times

#: Patterns drawn for each change of a clock.
PATTERNS = 5


@pytest.mark.parametrize("name", sorted(oracle.zones()))
def test_every_change_of_a_zone_s_clock(name: str) -> None:
    for shift in oracle.shifts(name, 2000, 2037):
        _compare(name, oracle.window(name, shift))


def _compare(name: str, seen: oracle.Window) -> None:
    @settings(max_examples=PATTERNS, deadline=None, database=None)
    @given(pattern=oracle.patterns())
    def compare(pattern: oracle.Pattern) -> None:
        found = firing_times(pattern, name, seen.start, seen.end)
        assert [(each.at, each.local_time, each.note) for each in found] == oracle.expected(pattern, seen)

    compare()


def test_aliases_have_the_data_of_the_zones_that_were_looked_at() -> None:
    known = set(oracle.zones()).union(*oracle.zones().values())
    assert schedule.timezone_names() <= known
