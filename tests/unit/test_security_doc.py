"""Each row of chaos/THREATS.md names a test that exists; docs/explain/security.md says why messages drop."""

from __future__ import annotations

import ast
import re

import pytest

from harness.system import ROOT

SECURITY = (ROOT / "docs" / "explain" / "security.md").read_text()
THREATS = (ROOT / "chaos" / "THREATS.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", THREATS)


def test_every_threat_names_its_test() -> None:
    rows = THREATS.split("## Threats")[1].strip().splitlines()[2:]
    assert len(rows) == len(NAMED) > 15


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert tests
    assert not name or name in tests


def test_the_broker_s_reasons_are_those_of_the_code() -> None:
    section = SECURITY.split("## The broker")[1].split("### TLS")[0]
    documented = set(re.findall(r"^\| `(\w+)` \| ", section, re.MULTILINE))
    sources = [path.read_text() for path in (ROOT / "ava").rglob("*.py")]
    used = {word for text in sources for word in re.findall(r'(?:drop|MessageRefused)\("(\w+)"\)', text)}
    used |= {word for text in sources for word in re.findall(r'_drop\(message, "(\w+)"\)', text)}
    assert documented == used
