"""There is exactly one function through which jobs are made."""

from __future__ import annotations

import re
from pathlib import Path

import ava

ROOT = Path(str(ava.__file__)).parent
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.rglob("*.py")}


def _files_with(pattern: str) -> list[str]:
    return sorted(path for path, source in SOURCES.items() for _ in re.findall(pattern, source))


def test_one_statement_inserts_jobs() -> None:
    assert _files_with(r"INSERT INTO jobs\b") == ["store/jobs/transitions/make.py"]


def test_one_function_runs_it() -> None:
    users = _files_with(r"ava\.store\.jobs\.transitions(?: import [^\n]*\bmake\b|\.make import)")
    assert users == ["services/creation/job_creator.py"]
    assert _files_with(r"\bmake\.insert\(") == ["services/creation/job_creator.py"]
