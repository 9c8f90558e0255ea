"""The statuses of a job and the table of their transitions."""

from __future__ import annotations

import re
from pathlib import Path

from ava.domain.jobs.job import FINAL, TRANSITIONS, Status

STATES = Path(__file__).parents[2] / "ava" / "store" / "jobs" / "transitions" / "README.md"


def test_the_page_has_exactly_the_legal_transitions() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", STATES.read_text(), re.MULTILINE)
    statuses = [(before, after) for before, afters in rows for after in re.findall(r"\w+", afters)]
    described = {(before, after) for before, after in statuses if before in [*Status]}
    assert described == {(before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters}


def test_exactly_three_statuses_are_final() -> None:
    assert {Status.COMPLETED, Status.FAILED, Status.CANCELLED} == FINAL


def test_every_status_can_be_reached() -> None:
    assert {after for afters in TRANSITIONS.values() for after in afters} == set(Status)
