"""The tests of runs once more, with sessions of their own, where the statements of a run are prepared."""

from __future__ import annotations

import pytest

from ava.settings import Settings
from tests.integration.test_runs import *  # noqa: F403 - each test of it

pytestmark = pytest.mark.needs_session(because="a pooler keeps no prepared statements")


def test_they_go_past_the_pooler(database_settings: Settings) -> None:
    assert not database_settings.database_pool_url
