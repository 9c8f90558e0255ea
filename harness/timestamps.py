"""A start time for jobs that must not start during a test: far ahead, and within what the API accepts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

LATER_DAY = f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}"
LATER = f"{LATER_DAY}T00:00:00Z"
