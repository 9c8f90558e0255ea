"""Rules of the source that no linter checks."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from harness.system import ROOT

LONGEST_FILE_LINES = 400
#: Files that are tables: of entries that are read one by one, and not in order.
TABLES = ("ava/domain/limits/table.py", "ava/errors.py", "ava/settings.py")
LONGEST_TABLE_LINES = 600
#: A tool writes them.
GENERATED = ("ava/client/records.py", "ava/client/methods.py")


def _sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_class_names_are_unique_in_ava() -> None:
    definitions = defaultdict(list)
    for path in _sources("ava"):
        # The client is a distribution of its own, and its records have the names of the API's.
        if path.is_relative_to(ROOT / "ava/client"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            # Marshmallow reads the options of a schema from an inner class of this name.
            if isinstance(node, ast.ClassDef) and node.name != "Meta":
                definitions[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in definitions.items() if len(found) > 1} == {}


def test_no_file_is_longer_than_400_lines_and_no_table_longer_than_600() -> None:
    files = _sources("ava", "workers", "harness", "tests", "bench", "chaos", "tools", "clients", "examples")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    for path in GENERATED:
        del lengths[path]
    limits = {name: LONGEST_TABLE_LINES if name in TABLES else LONGEST_FILE_LINES for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > limits[name]} == {}
