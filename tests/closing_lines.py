"""The closing lines of a run: what it has left out and why, its slowest files, and the systems that it started.

`make test` says that it runs every test, so it also says where it does not. A run that starts more systems than
`sizes.toml` allows fails.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from typing import Any

import pytest

from ava.errors import ServerProgramMissing
from harness.servers import pgbouncer
from harness.system import ROOT, System

#: The slowest files that are named. A run of no more files names none.
_SLOWEST = 10
#: The systems that the testers of pytest-xdist have started.
_OF_TESTERS = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Count the systems of a tester that has ended; one that was interrupted reports none."""
    node.config.stash[_OF_TESTERS] = _systems(node.config) + getattr(node, "workeroutput", {}).get("systems", 0)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the controller how many systems this tester has started, or fail if all of them started too many."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["systems"] = System.started
    elif _systems(session.config) > _max_systems():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _systems(config: pytest.Config) -> int:
    return config.stash.get(_OF_TESTERS, System.started)


def _max_systems() -> int:
    return int(tomllib.loads((ROOT / "sizes.toml").read_text())["tests"]["systems_started"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the closing lines, before that of pytest."""
    _write_left_out(terminalreporter)
    _write_slowest(terminalreporter)
    if systems := _systems(terminalreporter.config):
        is_over = systems > _max_systems()
        line = f"Systems started: {systems} of at most {_max_systems()} (sizes.toml)."
        terminalreporter.write_line(line, red=is_over)


def _write_slowest(terminalreporter: pytest.TerminalReporter) -> None:
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > _SLOWEST:
        terminalreporter.section(f"the {_SLOWEST} slowest files")
        for file, took in sorted(seconds.items(), key=lambda each: -each[1])[:_SLOWEST]:
            terminalreporter.write_line(f"{took:>5.0f} s  {file}")


def _write_left_out(terminalreporter: pytest.TerminalReporter) -> None:
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
