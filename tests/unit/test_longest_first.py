"""The order of test files names files that exist."""

from __future__ import annotations

from harness.system import ROOT
from tests import longest_first


def test_every_long_file_exists() -> None:
    assert [name for name in longest_first.LONGEST if not (ROOT / "tests" / name).exists()] == []
