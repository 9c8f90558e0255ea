"""`python -m tools.statements`: print the size of each statement that writes `jobs`, and fail above the bounds.

It measures the sent statement, with white space collapsed and without the columns of a job's record. `end_and_claim`
consists of `end` and `claim`, and `end_and_check` of `end_together` and `check`, which are counted. Retention's deletes
decide on no transition.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from ava.store.jobs import rows
from ava.store.jobs.transitions.claim import CLAIMED_COLUMNS
from ava.store.jobs.transitions.make import DECIDED_COLUMNS
from ava.store.statements import all_statements

_WRITES_JOBS = re.compile(r"\bUPDATE jobs\b|\bINSERT INTO jobs\b|\bDELETE FROM jobs\b")
#: The columns of a record, the longest first, because one contains another.
_COLUMNS = sorted(
    {CLAIMED_COLUMNS, DECIDED_COLUMNS, rows.LIGHT_COLUMNS, rows.JOB_COLUMNS, rows.STARTED_COLUMNS},
    key=len,
    reverse=True,
)
#: These read the rules of workers, tenants and windows in their own snapshot.
_READ_RULES = (
    "insert",
    "insert_more",
    "pull.claim",
    "debounce.defer",
    "change.change",
    "park.return_parked",
    "start_resolved",
)
_EXEMPT = ("old_jobs.delete", "old_jobs.delete_oldest", "end.end_and_claim", "end.end_and_check")


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of one statement."""

    characters: int
    ctes: int
    cases: int
    parameters: int

    def exceeds(self, bound: Size) -> bool:
        """Return True if one of the figures is above its bound. Parameters have none."""
        return self.characters > bound.characters or self.ctes > bound.ctes or self.cases > bound.cases


_BOUND = Size(characters=2_500, ctes=4, cases=6, parameters=0)
_BOUND_WITH_RULES = Size(characters=4_000, ctes=5, cases=10, parameters=0)


def size_of(sql: str) -> Size:
    """Return the size of a statement's text."""
    for columns in _COLUMNS:
        sql = sql.replace(columns, "")
    collapsed = " ".join(sql.split())
    return Size(
        characters=len(collapsed),
        ctes=len(
            re.findall(
                r"\b\w+(?: \([^)]*\))? AS (?:MATERIALIZED )?\((?=\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b)", collapsed
            )
        ),
        cases=len(re.findall(r"\bCASE\b", collapsed)),
        parameters=len(set(re.findall(r"%\((\w+)\)s", collapsed))),
    )


def main() -> int:
    """Print all sizes, the largest first. Returns 1 if a statement exceeds its bound."""
    found = {
        name.removeprefix("jobs.").removeprefix("transitions."): size_of(sql)
        for name, sql in all_statements().items()
        if _WRITES_JOBS.search(sql)
    }
    sys.stdout.write(f"{'statement':36}{'characters':>12}{'CTEs':>6}{'CASEs':>7}{'parameters':>12}\n")
    large = 0
    for name, size in sorted(found.items(), key=lambda item: -item[1].characters):
        bound = _BOUND_WITH_RULES if name.endswith(_READ_RULES) else _BOUND
        is_large = size.exceeds(bound) and not name.endswith(_EXEMPT)
        large += is_large
        figures = f"{size.characters:12,}{size.ctes:6}{size.cases:7}{size.parameters:12}"
        sys.stdout.write(f"{name:36}{figures}{'  above its bound' if is_large else ''}\n")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
