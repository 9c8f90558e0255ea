"""The fields that say from when a job may start, and by when it must have started."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import ValidationError

from ava.api.http.fields import Instant, WholeNumber
from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS
from ava.domain.limits.table import DAYS_AHEAD


class StartTime(Instant):
    """A moment at which a job may start; not too far ahead."""

    def read(self, value: Any) -> datetime:
        moment = super().read(value)
        if moment - datetime.now(UTC) > timedelta(days=DAYS_AHEAD.value):
            raise ValidationError(DAYS_AHEAD.message(f"It must be at most {DAYS_AHEAD.value} days from now."))
        return moment


def expiry_field(description: str, **rest: Any) -> WholeNumber:
    """The field `expires_in`."""
    given = {"load_default": None, "allow_none": True} | rest
    return WholeNumber(minimum=1, maximum=MAX_EXPIRY_SECONDS, metadata={"description": description}, **given)


def refuse_two_expiries(values: dict[str, Any]) -> None:
    """Raises `ValidationError` if a trigger says twice when its job expires, or that it does before it may start."""
    moment, date = values["start_before"], values["scheduled_at"]
    if moment is None:
        return
    for name in ("expires_in", "debounce"):
        if values[name] is not None:
            raise ValidationError({"start_before": [f"It must not be sent together with {name}."]})
    if date is not None and moment <= date:
        raise ValidationError({"start_before": ["It must be later than scheduled_at."]})
