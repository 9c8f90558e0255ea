"""The limits of searches, which look at jobs or lines one by one. `ava.domain.limits` lists them with the others."""

from __future__ import annotations

from ava.domain.limit import Limit

__all__ = ["INPUT_FILTERS", "SEARCHED_INPUT_BYTES", "SEARCHED_JOBS", "SEARCHED_LINES"]

SEARCHED_JOBS = Limit(
    name="searched_jobs",
    unit="jobs",
    meaning="Jobs that one answer looks at for a filter or an order without an index; then the page ends, and its "
    "cursor leads on.",
    status=None,
    fixed=20_000,
)
SEARCHED_INPUT_BYTES = Limit(
    name="searched_input_bytes",
    unit="bytes",
    meaning="Bytes of inputs that one answer searches for a value; then the page ends, and its cursor leads on.",
    status=None,
    fixed=32 * 2**20,
)
INPUT_FILTERS = Limit(
    name="input_filters",
    unit="places",
    meaning="Places of an input that a filter of jobs compares.",
    status=422,
    fixed=5,
)
SEARCHED_LINES = Limit(
    name="searched_lines",
    unit="lines",
    meaning="Lines of a log that one answer looks at for a part of their text; then it ends, and its cursor leads on.",
    status=None,
    fixed=100_000,
)
