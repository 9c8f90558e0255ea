"""What the fault suite counts as kept, at once and as growth, and where its table is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos.effects import Run
from chaos.faults.fairness import at_once, longest_below
from chaos.faults.lost_commits import ELSEWHERE
from chaos.result import Record, is_true
from chaos.soak_samples import Sample, trends
from harness.store_statements import writing_statements


def _run(name: str = "1.1", *, between: tuple[float, float] = (1, 2), is_done: bool = False) -> Run:
    return Run(job_id="job_a", name=name, began_at=between[0], last_at=between[1], is_done=is_done)


def test_only_the_last_run_may_have_completed_a_job() -> None:
    runs = [_run("1.1", is_done=True), _run("2.1", is_done=True)]
    assert is_true(Record(status="completed", run="2.1"), runs)
    assert not is_true(Record(status="completed", run="1.1"), runs)
    assert not is_true(Record(status="completed", run="2.1"), [runs[0], _run("2.1", is_done=False)])
    assert not is_true(Record(status="failed", run=None), runs)
    assert is_true(Record(status="queued", run=None), [])


def test_runs_that_follow_each_other_are_not_at_once() -> None:
    assert at_once([]) == 0
    assert at_once([_run(between=(n, n + 1)) for n in (1, 2, 3)]) == 1
    assert at_once([_run(between=each) for each in ((1, 3), (2, 4), (2.5, 2.6), (3.5, 5))]) == 3


def test_the_longest_time_below_a_limit_is_the_longest_between_the_two_moments() -> None:
    runs = [_run(between=each) for each in ((0, 3), (0, 4), (5, 9), (8, 20))]
    assert longest_below(runs, 2, since=1, until=3) == 0
    assert longest_below(runs, 2, since=1, until=8.5) == 5
    assert longest_below(runs, 2, since=1, until=30) == 21


def test_each_statement_that_the_row_leaves_alone_exists() -> None:
    assert set(ELSEWHERE) <= set(writing_statements())


def test_a_test_cuts_each_statement_that_the_row_leaves_alone() -> None:
    for reason in set(ELSEWHERE.values()):
        found = re.search(r"(tests/integration/test_\w+\.py) cuts it$", reason)
        assert found is not None, reason
        assert Path(found[1]).is_file()


def _grown(**metrics: list[float]) -> list[str]:
    """Return the metrics that grew, given as `unit__subject` with their values in each sample."""
    length = len(next(iter(metrics.values())))
    samples: list[Sample] = [
        {(name.partition("__")[0], name.partition("__")[2]): values[number] for name, values in metrics.items()}
        for number in range(length)
    ]
    return [trend.metric[1] for trend in trends(samples) if trend.has_grown]


def test_memory_that_levels_off_after_the_first_third_has_not_grown() -> None:
    assert _grown(MiB__node=[50, 80, 100, 101, 102, 101, 103, 102, 104]) == []


def test_memory_that_grows_with_each_sample_has_grown() -> None:
    assert _grown(MiB__node=[50, 60, 70, 80, 90, 100, 110, 120, 130], files__node=[9] * 9) == ["node"]


def test_rows_that_are_deleted_level_off_and_rows_that_are_not_have_grown() -> None:
    level = [300.0, 600, 700, 690, 720, 700, 710, 690, 705]
    assert _grown(rows__jobs=level, rows__job_edges=[1000.0 * n for n in range(1, 10)]) == ["job_edges"]


def test_rows_that_outlast_the_soak_may_grow_as_fast_as_before_and_no_faster() -> None:
    even = [1000.0 * n for n in range(1, 10)]
    faster = [1000, 2000, 3000, 4000, 5000, 6000, 9000, 12000, 15000.0]
    assert _grown(rows__idempotency_keys=even, rows__received_keys=faster) == ["received_keys"]


def test_connections_that_leak_have_grown_and_a_single_peak_of_files_has_not() -> None:
    leak, peak = [10.0 + 2 * n for n in range(12)], [20.0] * 10 + [90.0, 20.0]
    assert _grown(connections__PostgreSQL=leak, files__node=peak) == ["PostgreSQL"]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="six are the fewest"):
        trends([{}] * 5)
