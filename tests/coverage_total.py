"""Prints the coverage of all processes before pytest's closing line, which stays the last."""

from __future__ import annotations

import warnings
from pathlib import Path

import coverage
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Combine the data of all processes and print the total; does nothing unless coverage runs."""
    measured = coverage.Coverage.current()
    if measured is None:
        return
    measured.stop()
    measured.save()
    folder = Path(str(measured.config.data_file)).parent
    total = _write_report(folder / "report.txt")
    terminalreporter.write_line(f"coverage: {total:.1f} % of lines and branches ({folder.name}/report.txt)")


def _write_report(path: Path) -> float:
    combined = coverage.Coverage()
    combined.combine()
    combined.save()
    # A warning of coverage must not hide the result of the tests.
    with path.open("w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return combined.report(file=file, ignore_errors=True)
