"""Tables and pictures of the docs name what exists: files, tests, reasons and pages of the dashboard."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from harness.system import ROOT
from tests.dashboard_pages import PICTURES, pages, picture

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
    page = (ROOT / "ava/README.md").read_text()
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


SECURITY = (ROOT / "docs" / "explain" / "security.md").read_text()
DASHBOARD = (ROOT / "docs" / "reference" / "dashboard.md").read_text()
THREATS = (ROOT / "chaos" / "THREATS.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", THREATS)


def test_every_threat_names_its_test() -> None:
    rows = THREATS.split("## Threats")[1].strip().splitlines()[2:]
    assert len(rows) == len(NAMED) > 15


def test_every_named_test_exists() -> None:
    for file, name in NAMED:
        tests = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
        assert tests, file
        assert not name or name in tests, (file, name)


def test_the_broker_s_reasons_are_those_of_the_code() -> None:
    section = SECURITY.split("## The broker")[1].split("### TLS")[0]
    documented = set(re.findall(r"^\| `(\w+)` \| ", section, re.MULTILINE))
    sources = [path.read_text() for path in (ROOT / "ava").rglob("*.py")]
    used = {word for source in sources for word in re.findall(r'(?:drop|MessageRefused)\("(\w+)"\)', source)}
    used |= {word for source in sources for word in re.findall(r'_drop\(message, "(\w+)"\)', source)}
    assert documented == used


def test_each_page_of_the_dashboard_has_a_picture_in_the_docs() -> None:
    for page in pages():
        assert picture(page).exists(), "`make pictures` takes the pictures of all pages"
        assert f"](../images/{picture(page).name})" in DASHBOARD


def test_no_picture_is_of_a_page_that_does_not_exist() -> None:
    assert {file.stem for file in PICTURES.glob("*.png")} == set(pages())


def test_the_pages_are_those_of_the_frame() -> None:
    assert pages()["overview"] == "#/"
    assert pages()["job"] == "#/jobs/{id}"
    assert len(pages()) > 10
