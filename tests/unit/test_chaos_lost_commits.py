"""What the chaos row of lost commits leaves to other tests."""

from __future__ import annotations

import re
from pathlib import Path

from chaos.faults.lost_commits import ELSEWHERE
from harness.store_statements import writing_statements


def test_each_statement_that_the_row_leaves_alone_exists() -> None:
    assert set(ELSEWHERE) <= set(writing_statements())


def test_a_test_cuts_each_statement_that_the_row_leaves_alone() -> None:
    for reason in set(ELSEWHERE.values()):
        found = re.search(r"(tests/integration/test_\w+\.py) cuts it$", reason)
        assert found is not None, reason
        assert Path(found[1]).is_file()
