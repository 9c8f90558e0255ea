"""How the faults of limits count what ran at once."""

from __future__ import annotations

from chaos.effects import Run
from chaos.faults.fairness import at_once, longest_below


def _run(began_at: float, last_at: float) -> Run:
    return Run(job_id="job_a", name="1.1", began_at=began_at, last_at=last_at)


def test_runs_that_follow_each_other_are_not_at_once() -> None:
    assert at_once([]) == 0
    assert at_once([_run(1, 2), _run(2, 3), _run(3, 4)]) == 1
    assert at_once([_run(1, 3), _run(2, 4), _run(2.5, 2.6), _run(3.5, 5)]) == 3


def test_the_longest_time_below_a_limit_is_the_longest_between_the_two_moments() -> None:
    runs = [_run(0, 3), _run(0, 4), _run(5, 9), _run(8, 20)]
    assert longest_below(runs, 2, since=1, until=3) == 0
    assert longest_below(runs, 2, since=1, until=8.5) == 5
    assert longest_below(runs, 2, since=1, until=30) == 21
