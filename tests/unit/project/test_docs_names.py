"""Every module, file, command and setting that a page names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from harness.system import ROOT

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
SETTING = re.compile(r"\bAVA_[A-Z_]*[A-Z]\b(?!_)")

#: The first column of a table of renamed things.
FORMER = re.compile(r"^\| setting `AVA_\w+` \|", re.MULTILINE)


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
        # The configuration of one worker is made up by its author.
        without_former = FORMER.sub("", content)
        settings = {name for name in SETTING.findall(without_former) if not name.startswith("AVA_WORKER_")}
        assert {name for name in settings if name not in _source()} == set(), page


def test_a_name_that_does_not_exist_is_found() -> None:
    assert _resolves("ava.store.jobs.transitions.claim.claim")
    assert _resolves("ava.JobCancelled")
    assert not _resolves("ava.store.jobs.transitions.claim.claim_it")
    assert not _resolves("ava.store.job.runs")


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
