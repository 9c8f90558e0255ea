"""The examples of docs/reference/handlers.md and of the tutorials do what the pages say."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ava.errors import AddressRefused
from ava.handler import registry
from tests.unit.handlers import Run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "reference" / "handlers.md", DOCS / "start" / "handler.md", DOCS / "start" / "waits.md")


@pytest.fixture(scope="module")
def examples() -> Iterator[dict[str, Any]]:
    """What the examples define; the workers they declare are forgotten afterwards."""
    before = dict(registry._handlers)
    # The names that the examples import from: the handlers, and what the handlers of the tutorial call.
    module = ModuleType("my_handlers")
    names = ("my_handlers", "mails", "billing")
    found = vars(module)
    sys.modules.update(dict.fromkeys(names, module))
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            # A block that is indented is a part of a function; calls of a client need a system.
            if not block.startswith((" ", "client.")):
                exec(compile(block, str(page), "exec"), found)
    yield found
    for name in names:
        del sys.modules[name]
    registry._handlers.clear()
    registry._handlers.update(before)


def test_the_smallest_handler_answers(examples: dict[str, Any]) -> None:
    assert examples["greet"]({"name": "Ada"}) == {"greeting": "Hello, Ada"}
    assert registry.handlers()["wkr_greet"].takes_env is False


def test_the_whole_handler_copies_and_checks(examples: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(TARGET="there")
    assert examples["copy_rows"]({"rows": 2}, run.env) == {"copied": 2}
    assert run.lines == ["Copying 2 rows to there, attempt 1"]
    assert run.progress == [(0.5, "row 1 of 2"), (1.0, "row 2 of 2")]
    assert capsys.readouterr().out == "closing the connection\n"
    with pytest.raises(ValueError, match=r"input\.rows must be a whole number of at least 1"):
        examples["copy_rows"]({"rows": 0}, run.env)


def test_the_async_handler_ends_and_cleans_up(examples: dict[str, Any]) -> None:
    run = Run()
    assert asyncio.run(examples["watch_feed"]({"seconds": 0.1}, run.env)) == {"seen": 0}
    assert run.lines == ["Closing the feed"]


def test_the_examples_of_tests_pass(examples: dict[str, Any]) -> None:
    examples["test_greet"]()
    examples["test_a_cancelled_copy_cleans_up"]()
    for name in (
        "test_each_address_gets_a_mail",
        "test_a_cancelled_mailing_says_how_far_it_came",
        "test_the_report_adds_up",
        "test_a_page_that_fails_fails_the_report",
        "test_the_order_is_paid_once_and_mailed_a_day_later",
        "test_an_order_is_shipped_once_it_is_paid",
        "test_every_page_is_a_child",
        "test_a_payment_that_fails_fails_the_order",
    ):
        examples[name]()


def test_the_calling_handler_refuses_private_addresses(examples: dict[str, Any]) -> None:
    with pytest.raises(AddressRefused):
        examples["fetch_status"]({"url": "http://127.0.0.1/"}, Run().env)
