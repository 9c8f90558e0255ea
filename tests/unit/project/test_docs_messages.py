"""The pages on production and troubleshooting quote messages that the code still has."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from harness.system import ROOT

_QUOTED = {
    "docs/how-to/production.md": (
        "every value is valid, and every variable that begins with AVA_ is a known setting",
        "a commit reaches the disk (fsync on, synchronous_commit ",
        "one API, the nodes, a dispatcher and a sender use up to ",
        "no dispatcher is active, so no waiting job starts and no schedule fires: run `ava start dispatcher`",
    ),
    "docs/how-to/troubleshooting.md": (
        "no live worker serves ",
        "tenant turn: ",
        "paused by ",
        "waiting for retry ",
        "scheduled for ",
        "debounce: ",
        "its handler waits",
        "the broker refuses the queue ",
        "no worker has polled for runs of ",
        "No such worker; GET /v1/ava/workers lists all workers.",
        "Handler module ",
        "the worker process died (signal 9)",
        " requested its cancel at ",
        " (its process was killed)",
        "The database is unreachable",
        "no connection to the database was free in time",
        "The disk of the database is full",
        "A statement took too long",
        "waited too long for a lock",
    ),
}


@pytest.mark.parametrize("page", _QUOTED)
def test_the_messages_that_a_page_quotes_are_those_of_the_code(page: str) -> None:
    content, messages = (ROOT / page).read_text(), _messages()
    for quoted in _QUOTED[page]:
        assert quoted in content, quoted
        assert quoted in messages, quoted


@cache
def _messages() -> str:
    """Return the strings of the code, each on one line."""
    found = []
    for path in (ROOT / "ava").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)
