"""The fields that say by when a job must have started."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from ava.api.http.fields import WholeNumber
from ava.domain.jobs.expiry import MAX_SECONDS

__all__ = ["expiry_field", "refuse_two_expiries"]


def expiry_field(description: str, **rest: Any) -> WholeNumber:
    """The field `expires_in`."""
    given = {"load_default": None, "allow_none": True} | rest
    return WholeNumber(minimum=1, maximum=MAX_SECONDS, metadata={"description": description}, **given)


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
