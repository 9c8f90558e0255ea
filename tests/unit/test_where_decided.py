"""Each question of the page for developers leads to a file that defines the names in its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from harness.system import ROOT

_HEADING = "## Where is it decided?\n"
_ROW = re.compile(r"\| [^|]+\? \| `(?P<file>ava/[\w/]+\.py)`: (?P<names>`\w+`(?:, `\w+`)*) \|")


def _defined(file: Path) -> set[str]:
    """Return the top-level names of a module that it does not import."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
    return names


def test_each_question_leads_to_a_file_that_defines_the_names_of_its_row() -> None:
    page = (ROOT / "docs/how-to/development.md").read_text()
    section = page.partition(_HEADING)[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 30
    wrong = []
    for row in rows:
        found = _ROW.fullmatch(row)
        assert found, row
        file = ROOT / found["file"]
        if not file.exists() or set(re.findall(r"`(\w+)`", found["names"])) - _defined(file):
            wrong.append(row)
    assert wrong == []
