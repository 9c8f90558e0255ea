"""The table of limits: names are unique, settings exist, and the site shows them."""

from __future__ import annotations

import dataclasses
import re

from ava import settings
from ava.domain.limits.table import LIMITS
from ava.error_codes import ErrorCode
from ava.settings import Settings
from tools.site import reference

LEAST = {"DATABASE_URL": "postgresql://ava:pass@db:5432/ava", "BROKER_URL": "redis://broker:6379/0"}
SETTABLE = [limit for limit in LIMITS if limit.field is not None]


def test_the_page_shows_each_limit_with_its_default_and_meaning() -> None:
    page = reference.limits()
    assert "| `bulk_jobs` | 1,000 | 422 | Jobs that one call may trigger. |" in page
    assert all(f"| `{limit.name}` |" in page and limit.meaning in page for limit in LIMITS)


def test_operators_can_set_fifteen_of_the_limits() -> None:
    assert len(SETTABLE) == 15


def test_the_names_are_unique() -> None:
    names = [limit.name for limit in LIMITS]
    assert len(set(names)) == len(names)


def test_a_limit_has_a_name_a_sentence_and_a_status_that_errors_have() -> None:
    for limit in LIMITS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", limit.name)
        assert (limit.meaning[0].isupper(), limit.meaning[-1]) == (True, "."), limit
        # 431 is the status of HTTP itself; its code is bad_request.
        assert limit.status in (None, 431) or any(limit.status in code.meanings for code in ErrorCode), limit


def test_a_limit_is_fixed_or_the_value_of_a_documented_setting() -> None:
    loaded = settings.load(LEAST)
    documented = reference.configuration()
    for limit in LIMITS:
        if limit.field is None:
            assert limit.setting is None, limit
            assert limit.of(loaded) == limit.default == limit.value, limit
            continue
        assert limit.field in {field.name for field in dataclasses.fields(Settings)}, limit
        assert limit.fixed is None, limit
        assert f"| `{limit.setting}` |" in documented
        assert limit.of(loaded) == limit.default, limit


def test_a_setting_changes_its_limit() -> None:
    for limit in SETTABLE:
        wanted = (limit.default or 0) + 1
        value = f"{wanted}/minute" if limit.unit == "requests" else str(wanted)
        assert limit.setting is not None
        assert limit.of(settings.load({**LEAST, limit.setting: value})) == wanted, limit


def test_an_error_names_its_limit() -> None:
    limit = next(limit for limit in LIMITS if limit.name == "bulk_jobs")
    assert limit.message("There must be 1 to 1,000 of them.") == "There must be 1 to 1,000 of them. (limit bulk_jobs)"
