"""What the chaos row of lost commits leaves to other tests."""

from __future__ import annotations

from chaos.faults.lost_commits import ELSEWHERE
from harness.store_statements import writing_statements


def test_each_statement_that_the_row_leaves_alone_exists() -> None:
    assert set(ELSEWHERE) <= set(writing_statements())
