"""Groups of brief jobs: which jobs share a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ava.domain.jobs import run_groups
from ava.domain.jobs.messages import MAX_RUNS


@dataclass(frozen=True)
class Published:
    """What `form` reads of a job."""

    worker_id: str
    priority: int = 5


@pytest.mark.parametrize(
    ("run_seconds", "waiting", "processes", "shared", "alone"),
    [
        (0.0002, 500, 2, MAX_RUNS, MAX_RUNS),
        (0.004, 500, 2, 5, MAX_RUNS),
        (0.0056, 500, 2, 4, MAX_RUNS),
        (0.011, 500, 2, 2, 9),
        (0.021, 500, 2, 1, 4),
        (run_groups.LONG_SECONDS, 500, 2, 1, 2),
        (0.051, 500, 2, 1, 1),
        (60.0, 500, 2, 1, 1),
        # A few jobs are spread over the processes.
        (0.0002, 16, 2, 2, 2),
        (0.011, 40, 2, 2, 5),
        (0.0002, 3, 2, 1, 1),
        (0.0002, 500, 0, MAX_RUNS, MAX_RUNS),
    ],
)
def test_a_group_takes_about_its_time_and_leaves_no_process_idle(
    run_seconds: float, waiting: int, processes: int, shared: int, alone: int
) -> None:
    found = [
        run_groups.size(run_seconds, waiting=waiting, processes=processes, is_shared=is_shared)
        for is_shared in (True, False)
    ]
    assert found == [shared, alone]


def test_groups_keep_the_order_and_have_one_worker_and_one_priority() -> None:
    a, b, urgent = Published("wkr_a"), Published("wkr_b"), Published("wkr_a", 1)
    jobs: Any = [urgent, a, a, a, b, b, a]
    assert run_groups.form(jobs, {"wkr_a": 2}) == [[urgent], [a, a], [a], [b], [b], [a]]
    assert run_groups.form(jobs, run_groups.NONE) == [[job] for job in jobs]
    assert run_groups.form([], {"wkr_a": 2}) == []
