"""Changes of queued jobs and retries of jobs: schemas of requests."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, post_load, validates_schema

from ava.api.http.fields import Choice, JsonObject, WholeNumber
from ava.api.http.strict import Strict
from ava.api.schemas.job_filters import TAGS_FORM, Tags
from ava.api.schemas.trigger_fields import StartTime
from ava.domain.jobs import priority
from ava.domain.jobs.graphs import RetryFrom
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS


class ChangeBody(Strict):
    """Changes to a queued job; at least one field."""

    priority = WholeNumber(minimum=priority.FIRST, maximum=priority.LAST, metadata={"description": "The new priority."})
    scheduled_at = StartTime(
        allow_none=True, metadata={"description": "The new start time in ISO 8601; null or a past time: now."}
    )
    expires_in_seconds = WholeNumber(
        minimum=1,
        maximum=MAX_EXPIRY_SECONDS,
        allow_none=True,
        metadata={
            "description": "Seconds from now, or from a later `scheduled_at`, until the job is cancelled if it has "
            "not started; null: it does not expire."
        },
    )
    tags = Tags(metadata={"description": "The new tags, which replace the earlier tags.", **TAGS_FORM})

    @validates_schema
    def _any(self, values: dict[str, Any], **_: Any) -> None:
        if not values:
            raise ValidationError("It must have at least one field.")

    @post_load
    def _change(self, values: dict[str, Any], **_: Any) -> JobChange:
        names = frozenset(values)
        if "tags" in values:
            values["tags_json"] = values.pop("tags")
        return JobChange(names=names, **values)


class RetryBody(Strict):
    """Differences from the retried job."""

    from_ = Choice(
        RetryFrom,
        data_key="from",
        load_default=None,
        allow_none=False,
        metadata={
            "description": "`failed`, for a bulk entry that did not complete: create new jobs for it and for each of "
            "its direct and indirect followers that did not complete, with the same edges. Completed entries are "
            "reused, not rerun."
        },
    )

    @validates_schema
    def _check_from(self, values: dict[str, Any], **_: Any) -> None:
        if values.get("from_") is None:
            return
        for name in ("input", "priority"):
            if values.get(name) is not None:
                raise ValidationError("It must not be sent together with from.", name)

    input = JsonObject(
        load_default=None,
        allow_none=False,
        metadata={"description": "The input of the new job. Default: the input of the earlier job."},
    )
    priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        load_default=None,
        allow_none=False,
        metadata={"description": "The priority of the new job. Default: the priority of the earlier job."},
    )
