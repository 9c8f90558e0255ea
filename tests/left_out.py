"""What a run has left out, as its closing lines: tests whose server or program is not there, each with its reason.

`make test` says that it runs every test, so it also says where it does not.
"""

from __future__ import annotations

from collections import Counter

import pytest

from ava.errors import ServerProgramMissing
from harness.servers import pgbouncer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out, and why."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        # `(file, line, "Skipped: the reason")`
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[" ".join(str(reason).removeprefix("Skipped: ").split())] += 1
    if _is_without_pooler(terminalreporter):
        terminalreporter.write_line("PgBouncer is not installed, so no test went through it.", yellow=True)
    if not reasons:
        return
    total = sum(reasons.values())
    terminalreporter.section(f"{total} test{'s' * (total > 1)} left out", yellow=True)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:>4}  {reason}")
    terminalreporter.write_line(
        "      Servers and programs that are missing are installed by `make test`, as root on Debian."
    )


def _is_without_pooler(terminalreporter: pytest.TerminalReporter) -> bool:
    """Returns True if tests that reach their database through PgBouncer, where it is installed, have run without it."""
    passed = terminalreporter.stats.get("passed", ())
    if all(report.nodeid.startswith("tests/unit/") for report in passed):
        return False
    try:
        pgbouncer.program()
    except ServerProgramMissing:
        return True
    return False
