"""Each row of chaos/THREATS.md names a test that exists; docs/explain/security.md says why messages drop."""

from __future__ import annotations

import re

from harness.system import ROOT

SECURITY = (ROOT / "docs" / "explain" / "security.md").read_text()
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
    used = {word for text in sources for word in re.findall(r'(?:drop|MessageRefused)\("(\w+)"\)', text)}
    used |= {word for text in sources for word in re.findall(r'_drop\(message, "(\w+)"\)', text)}
    assert documented == used
