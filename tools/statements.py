"""`python -m tools.statements`: print the size of each SQL statement, and fail if one is above a bound.

It counts what a reader must keep in mind, which no shorter name reduces.
"""

from __future__ import annotations

import re
import sys

from ava.store.statements import all_statements

Size = dict[str, int]
#: The bounds of one statement, by the unit. `arrays` are parallel arrays of one `unnest`.
BOUNDS: Size = {"CTEs": 7, "CASEs": 8, "SELECTs": 12, "placeholders": 20, "arrays": 10}
#: By the beginning of a name: other bounds, and the reason.
_OTHER: dict[str, tuple[Size, str]] = {
    "events.events.insert": ({"placeholders": 21, "arrays": 17}, "an array for each column of an event"),
    "reports.audit.insert": ({"arrays": 14}, "an array for each column of an audit entry"),
    "fleet.workers.announce": ({"placeholders": 22}, "a placeholder for each option of a worker"),
    "schedules.definitions.": ({"placeholders": 25}, "a placeholder for each column of a schedule"),
    "jobs.reads.searches.": (
        {"SELECTs": 22, "placeholders": 32},
        "a placeholder for each filter, and the same bounded scan for each range of a filter's rows",
    ),
    "jobs.reads.why.read_facts": ({"SELECTs": 14}, "a SELECT for each reason to wait, of one snapshot"),
    "jobs.feed.polls.read": ({"SELECTs": 19}, "a SELECT for each fact of a poll, of one snapshot"),
    "jobs.transitions.end.": (
        {"SELECTs": 18, "placeholders": 33, "arrays": 22},
        "an array for each column of a run's outcome; end_and_claim and end_and_check join two statements",
    ),
    **dict.fromkeys(
        (
            "jobs.transitions.change.change",
            "jobs.transitions.park.return_parked",
            "jobs.transitions.pull.claim",
            "jobs.transitions.wake.decide",
        ),
        ({"CASEs": 10, "SELECTs": 17}, "reads the rules of workers, tenants and windows in the snapshot of the write"),
    ),
    "reports.ended.count": (
        {"CTEs": 8, "SELECTs": 14},
        "counts, histograms and the high-water mark are of one snapshot and one scan of the ended jobs",
    ),
    "reports.metrics.queue_depths": ({"SELECTs": 20}, "a SELECT for each index that has waiting jobs"),
    "reports.queue_counts.queue_counts": ({"SELECTs": 13}, "a SELECT for each index that has waiting jobs"),
    "reports.series.": ({"CTEs": 8, "SELECTs": 47}, "the sample has a SELECT for each index of waiting jobs"),
    "reports.tenant_usage.read": ({"SELECTs": 27}, "a SELECT for each counted table"),
    "webhooks.fan_out.": ({"CASEs": 10, "SELECTs": 14}, "a CASE for each column that may have changed since the event"),
    "webhooks.outcomes.record": ({"CASEs": 9}, "a CASE for each column of a delivery that depends on its outcome"),
}
_CTE = re.compile(
    r"\b\w+(?: \([^)]*\))? AS (?:(?:NOT )?MATERIALIZED )?\((?=\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|TABLE|VALUES)\b)"
)
_ARRAY = re.compile(r"%\(\w+\)s::\w+\[\]")
_UNNEST = re.compile(r"\bunnest\(((?:[^()]|\([^()]*\))*)\)")


def size_of(sql: str) -> Size:
    """Return the size of a statement's text."""
    sql = " ".join(sql.split())
    return {
        "CTEs": len(_CTE.findall(sql)),
        "CASEs": len(re.findall(r"\bCASE\b", sql)),
        "SELECTs": len(re.findall(r"\bSELECT\b", sql)),
        "placeholders": len(set(re.findall(r"%\((\w+)\)s", sql))),
        "arrays": max((len(_ARRAY.findall(each)) for each in _UNNEST.findall(sql)), default=0),
    }


def bounds_of(name: str) -> Size:
    """Return the bounds of a statement."""
    return BOUNDS | next((bounds for beginning, (bounds, _) in _OTHER.items() if name.startswith(beginning)), {})


def main() -> int:
    """Print all sizes, the largest first. Returns 1 if a statement exceeds a bound, or another bound is superfluous."""
    sizes = {name: size_of(sql) for name, sql in all_statements().items()}
    sys.stdout.write(f"{'statement':44}{''.join(f'{unit:>14}' for unit in BOUNDS)}\n")
    large = False
    for name, size in sorted(sizes.items(), key=lambda item: -sum(item[1].values())):
        bounds = bounds_of(name)
        above = [f"{unit} {size[unit]} > {bounds[unit]}" for unit in bounds if size[unit] > bounds[unit]]
        large = large or bool(above)
        figures = "".join(f"{size[unit]:14}" for unit in BOUNDS)
        sys.stdout.write(f"{name:44}{figures}{'  above: ' * bool(above)}{', '.join(above)}\n")
    superfluous = [
        f"{beginning}: {unit} {bound} is more than needed (tools/statements.py)"
        for beginning, (bounds, _) in _OTHER.items()
        for unit, bound in bounds.items()
        if bound > max((size[unit] for name, size in sizes.items() if bounds_of(name) == BOUNDS | bounds), default=0)
    ]
    sys.stdout.write("".join(f"{each}\n" for each in superfluous))
    return 1 if large or superfluous else 0


if __name__ == "__main__":
    sys.exit(main())
