"""What `make pictures` writes into the database beside its jobs is of today's schema."""

from __future__ import annotations

from typing import Any, cast

from ava.settings import Settings
from harness.system import System
from tests.acceptance import screenshots
from tests.backlog import open_backlog


def test_the_history_of_the_pictures_is_taken(database_settings: Settings) -> None:
    with open_backlog(database_settings) as backlog:

        class Shop:
            def query(self, statement: str) -> list[Any]:
                return backlog.run(statement)

        screenshots._add_history(cast(System, Shop()))
        ((minutes, days),) = backlog.run(
            "SELECT (SELECT count(*) FROM job_minutes), (SELECT count(*) FROM job_counts WHERE span = 'day')"
        )
    assert minutes > 59
    assert days > 29
