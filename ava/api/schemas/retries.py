"""Retries of one job: what clients send."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, validates_schema

from ava.api.http.fields import Choice, JsonObject, WholeNumber
from ava.api.http.strict import Strict
from ava.domain.jobs import priority
from ava.domain.jobs.graphs import RetryFrom


class RetryBody(Strict):
    """What is different from the job that is retried."""

    from_ = Choice(
        RetryFrom,
        data_key="from",
        load_default=None,
        allow_none=False,
        metadata={
            "description": "`failed`, of an entry of a bulk that did not complete: new jobs for it and for each entry "
            "after it, near and far, that did not complete, with the same edges. What completed is read, not run."
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
        metadata={"description": "The payload of the new job. Without it, that of the earlier job."},
    )
    priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        load_default=None,
        allow_none=False,
        metadata={"description": "The priority of the new job. Without it, that of the earlier job."},
    )
