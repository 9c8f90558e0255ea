"""`make limits`: write the table of `docs/reference/limits.md` from `ava.domain.limits.table`."""

from __future__ import annotations

from pathlib import Path

from ava.domain.limits.limit import as_table
from ava.domain.limits.table import LIMITS

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "limits.md"


def with_table(page: str) -> str:
    """Returns the page with the present table in the place of its own."""
    lines = page.splitlines(keepends=True)
    rows = [number for number, line in enumerate(lines) if line.startswith("|")]
    return "".join([*lines[: rows[0]], as_table(LIMITS), *lines[rows[-1] + 1 :]])


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
