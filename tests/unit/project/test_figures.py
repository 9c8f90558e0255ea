"""The figures of `make check` count what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.system import ROOT
from tools import figures

_SOURCE = """
_WAIT_SECONDS = 2.0
LAG_SECONDS: float = 1
_SECONDS_NAMED = "x"

class First:
    def __init__(self) -> None:
        self.a = 1
        self._b: dict[str, int] = {}
        self.c, self.d = 1, 2

    def run(self) -> None:
        self.a += 1
        self.e.name = 2
        if self.f == 3:
            self._b["x"] = 4

def beside(self) -> None:
    self.g = 1

class Second:
    pass
"""


def test_an_attribute_is_counted_once_in_the_class_that_assigns_it() -> None:
    assert figures.attributes(_SOURCE) == {"First": 4, "Second": 0}


def test_a_constant_of_seconds_is_known_by_its_name() -> None:
    assert figures.constants_of_seconds(_SOURCE) == ["_WAIT_SECONDS", "LAG_SECONDS"]


def test_a_statement_moves_a_job_if_it_writes_the_table_of_jobs() -> None:
    found = figures.moves(
        {
            "a": "WITH made AS (INSERT INTO jobs (id) VALUES (1)) UPDATE jobs SET id = 2",
            "b": "UPDATE jobs AS j SET id = 1",
            "c": "DELETE FROM jobs WHERE id = 1",
            "d": "INSERT INTO job_logs SELECT * FROM jobs",
            "e": "SELECT 1 FROM jobs FOR UPDATE",
        }
    )
    assert found == {"INSERT": ["a"], "UPDATE": ["a", "b"], "DELETE": ["c"]}


def test_lines_belong_to_the_first_room_of_their_file(tmp_path: Path) -> None:
    for name, source in (("app.py", "1\n"), ("store/reads.py", "1\n2\n"), ("store/jobs/ends.py", "1\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert figures.lines_by_folder(tmp_path.rglob("*.py"), tmp_path) == {".": 1, "store": 3}


def test_the_command_prints_four_lines() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "tools.figures"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert [line.split(" ")[0] for line in printed.splitlines()] == ["Lines", "Statements", "Attributes", "Constants"]
