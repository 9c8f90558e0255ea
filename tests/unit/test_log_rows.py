"""Lines as the rows of `job_logs` have them."""

from __future__ import annotations

from datetime import UTC, datetime

from ava.domain.jobs.job import LogLevel, LogLine
from ava.store.jobs.transitions.log_lines import LINES_PER_ROW, rows_of


def _numbers(*numbers: int) -> list[list[int]]:
    lines = [LogLine(seq=n, ts=datetime(2026, 1, 1, tzinfo=UTC), level=LogLevel.INFO, msg="m") for n in numbers]
    return [[line.seq for line in row] for row in rows_of(lines)]


def test_a_row_ends_before_a_gap() -> None:
    assert _numbers(1, 2, 4, 5, 3) == [[1, 2], [4, 5], [3]]
    assert _numbers() == []


def test_a_row_ends_when_it_is_full() -> None:
    sizes = [len(row) for row in _numbers(*range(2 * LINES_PER_ROW + 1))]
    assert sizes == [LINES_PER_ROW, LINES_PER_ROW, 1]
