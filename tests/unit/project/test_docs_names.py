"""Every module, file, command, setting, state, outcome, wait reason and extra that a page names exists."""

from __future__ import annotations

import ast
import re
import tomllib
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import Any

from ava.domain.jobs import run_log, wait_reasons
from ava.domain.jobs.run_outcome import Ending
from ava.settings import unknown_names
from harness.system import ROOT
from tools.openapi import description

ROOMS = "ava|workers|bench|chaos|harness|tests"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(
            page
            for capacity in ROOMS.split("|")
            for page in ROOT.glob(f"{capacity}/**/README.md")
            if "static" not in page.parts
        ),
    ]
)
#: A dotted name between backticks, or the module of `python -m`.
DOTTED = re.compile(rf"(?:`|python -m )((?:{ROOMS})(?:\.\w+)+)\b(?!/)")
PATH = re.compile(rf"(?<![\w/.:-])((?:{ROOMS}|deploy|docs|tools)/[\w./*@-]*\w)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"(?:(?:`|^ {4})make ([a-z]+)|^make ([a-z]+) +#)", re.MULTILINE)
SETTING = re.compile(r"\b(AVA_[A-Z0-9_]*[A-Z0-9])\b(?!_)")
#: The first column of a table of renamed things.
FORMER = re.compile(r"^\| setting `AVA_\w+` \|", re.MULTILINE)
#: The tables of a field's values: the field is the head of their first column.
TABLE = re.compile(r"^\| `(\w+)` \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
#: A value in a filter, an option or an example of a record.
VALUE = re.compile(r"""(?:\b(status|waits_for)(?:\]=|"?: ?"|=")|--(status|waits-for) )([a-z]+)\b""")
EXTRA = re.compile(r"(?:ava[-_]jobs(?:-client)?|['\" ]\.)\[([\w,-]+)\]")


def test_every_module_that_a_page_names_exists() -> None:
    for page in PAGES:
        named = DOTTED.findall(page.read_text())
        assert [name for name in named if not (_resolves(name) or f'"{name}"' in _source())] == [], page


def test_every_file_that_a_page_names_exists() -> None:
    for page in PAGES:
        content = page.read_text()
        missing = {path for path in PATH.findall(content) if not any(ROOT.glob(path.rstrip("/.")))}
        missing |= {link for link in LINK.findall(content) if "://" not in link and not (page.parent / link).exists()}
        assert missing == set(), page


def test_every_command_and_setting_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        content = page.read_text()
        targets = {quoted or listed for quoted, listed in TARGET.findall(content)}
        assert {name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set(), page
        assert unknown_names(dict.fromkeys(SETTING.findall(FORMER.sub("", content)), "x")) == [], page


def test_the_tables_of_outcomes_and_wait_reasons_have_the_names_of_the_code() -> None:
    # A run that was released never began, and the API does not list it.
    outcomes = {run_log._OUTCOMES.get(each, each.value) for each in Ending if each is not Ending.RELEASED}
    names = {"outcome": outcomes, "waits_for": {"null", *wait_reasons.KNOWN}}
    found: dict[str, set[str]] = {field: set() for field in names}
    for page in PAGES:
        for field, rows in TABLE.findall(page.read_text()):
            if field in names:
                cells = " ".join(row.split("|")[1] for row in rows.splitlines())
                found[field] |= set(re.findall(r"\w+", cells))
    assert found["waits_for"] == names["waits_for"]
    # A job that ran twice had other outcomes before its last run.
    assert found["outcome"] == outcomes - {"completed", "cancelled"}


def test_every_state_and_wait_reason_in_an_example_exists() -> None:
    known = {"status": set(_values_of("status", description())), "waits_for": {*wait_reasons.KNOWN}}
    # The CHANGELOG also names former values.
    for page in set(PAGES) - {ROOT / "CHANGELOG.md"}:
        values = [
            (quoted or option.replace("-", "_"), value) for quoted, option, value in VALUE.findall(page.read_text())
        ]
        wrong = [(field, value) for field, value in values if value not in known[field]]
        assert wrong == [], page


def test_every_extra_that_a_page_names_exists() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    client = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text())
    extras = {*config["options.extras_require"], *client["project"]["optional-dependencies"]}
    for page in (*PAGES, *ROOT.glob("clients/*/README.md")):
        named = {name for names in EXTRA.findall(page.read_text()) for name in names.split(",")}
        assert named <= extras, page
    install = (ROOT / "docs" / "operate" / "install.md").read_text()
    assert set(
        re.findall(r"^\| `([\w-]+)` \| ", install.partition("| extra of")[2].partition("\n\n")[0], re.MULTILINE)
    ) == {*config["options.extras_require"]} - {"docs", "test", "dev"}


def test_a_name_that_does_not_exist_is_found() -> None:
    assert _resolves("ava.store.jobs.transitions.claim.claim")
    assert _resolves("ava.JobCancelled")
    assert not _resolves("ava.store.jobs.transitions.claim.claim_it")
    assert not _resolves("ava.store.job.runs")


def _values_of(field: str, node: Any) -> list[str]:
    """Return the values of all fields and filters of this name in the API's description."""
    if isinstance(node, list):
        return [value for each in node for value in _values_of(field, each)]
    if not isinstance(node, dict):
        return []
    found = [value for each in node.values() for value in _values_of(field, each)]
    named = [node.get(field), node.get("schema") if node.get("name") == f"filter[{field}]" else None]
    for schema in named:
        if isinstance(schema, dict):
            found += schema.get("enum", []) + schema.get("x-known-values", [])
    return found


@cache
def _source() -> str:
    files = [*ROOT.glob("ava/**/*.py"), *ROOT.glob("*.py"), *ROOT.glob("tests/**/*.py")]
    return "\n".join(file.read_text() for file in files if file != Path(__file__))


def _resolves(name: str) -> bool:
    """Returns True if a dotted name is a module, or a name at the top of a module or of a class there."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        target = ROOT.joinpath(*parts[:count])
        file = next((each for each in (target.with_suffix(".py"), target / "__init__.py") if each.exists()), None)
        if file is not None or target.is_dir():
            return _holds(file, parts[count:])
    return False


def _holds(file: Path | None, names: list[str]) -> bool:
    if not names:
        return True
    if file is None:
        return False
    tree: ast.AST = ast.parse(file.read_text())
    for name in names:
        found = next((node for node in ast.iter_child_nodes(tree) if name in _names(node)), None)
        if found is None:
            return False
        tree = found
    return True


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {each.id for each in targets if isinstance(each, ast.Name)}
        # `__all__` also has the names that a package loads lazily.
        if "__all__" in names and isinstance(node.value, ast.List):
            names |= {each.value for each in node.value.elts if isinstance(each, ast.Constant)}
        return names
    if isinstance(node, ast.If):
        return {name for each in node.body for name in _names(each)}
    return set()
