"""The states of a job and their picture in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ava.domain.job import FINAL, TRANSITIONS, Status, may_move

STATES = Path(__file__).parents[2] / "docs" / "job_states.md"


def test_the_drawing_shows_exactly_the_moves_that_are_made() -> None:
    drawn = {
        (before, after) for before, after in re.findall(r"^    (\w+) --> (\w+):", STATES.read_text(), re.MULTILINE)
    }
    assert drawn == {(before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters}


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_state_has_no_way_out(status: Status) -> None:
    assert not any(may_move(status, other) for other in Status)


def test_every_state_but_the_first_is_reached() -> None:
    assert {after for afters in TRANSITIONS.values() for after in afters} == set(Status)
