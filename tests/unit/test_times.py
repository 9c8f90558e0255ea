"""Moments as clients write them are parsed as UTC or refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ava.domain.strings import parse_time


@pytest.mark.parametrize(
    ("string", "timestamp"),
    [
        ("2025-06-01T10:00:00Z", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01T10:00:00", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01t10:00z", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01 12:00:00+02:00", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01T12:00:00.5+0200", datetime(2025, 6, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2025-06-01T08:00:00.123456789-02", datetime(2025, 6, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2025-06-01", datetime(2025, 6, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_iso_8601_is_parsed_as_utc(string: str, timestamp: datetime) -> None:
    assert parse_time(string) == timestamp


@pytest.mark.parametrize(
    "string",
    [
        "",
        "now",
        "1717236000",
        "2025-06-01T",
        "2025-13-01",
        "2025-02-30T00:00:00Z",
        "2025-06-01T25:00:00Z",
        "20250601T100000Z",
        "2025-W23-1",
        "2025-06-01T10:00:00+99:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "２０２５-06-01",
        "2025-06-01T10:00:00Z\n",
        "2025-06-01T10:00:60Z",
    ],
)
def test_any_other_string_is_refused(string: str) -> None:
    assert parse_time(string) is None
