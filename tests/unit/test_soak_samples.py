"""What a soak counts as growth."""

from __future__ import annotations

import pytest

from chaos.soak import Soak
from chaos.soak_samples import Sample, has_more_idle_cpu, trends


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


def test_idle_processes_may_not_take_more_cpu_afterwards() -> None:
    assert not has_more_idle_cpu(5.0, 6.5)
    assert has_more_idle_cpu(5.0, 9.0)
    soak = Soak(broker="redis", hours=1, seed=1, samples=[{}] * 6, cpu_before={"api": 5.0}, cpu_after={"api": 9.0})
    assert soak.failures == ["growth of idle CPU of api"]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="six are the fewest"):
        trends([{}] * 5)
