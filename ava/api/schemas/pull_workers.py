"""Pull workers: schemas of requests to create and delete them."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http.fields import STORABLE, BoundedString, CheckedString, Choice, JsonString, PositiveNumber, WholeNumber
from ava.api.http.records import deleted_record
from ava.api.http.strict import Strict
from ava.api.schemas.setting_fields import RateString
from ava.api.schemas.trigger_fields import RetryDelaysBody
from ava.domain.input_schema import check_schema
from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS
from ava.domain.limits.graph_limits import DEADLINE_SECONDS
from ava.domain.schema_costs import TENANTS
from ava.domain.strings import storable
from ava.domain.worker import PULL_RUNTIME, PullWorkerSpec, Scope

MAX_RUNNING = 1_000_000
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,58}")


class _Runtime(StrEnum):
    """The runtimes of workers that clients can create."""

    PULL = PULL_RUNTIME


#: The name of a worker.
WorkerName = partial(BoundedString, 200, characters=STORABLE)


class JsonSchema(JsonString):
    """A JSON Schema."""

    def read(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ValidationError("It must be a JSON Schema, an object.")
        try:
            return check_schema(value, TENANTS)
        except ValueError as error:
            raise ValidationError(f"It is not a usable JSON Schema: {storable(str(error), 300)}.") from None


_TIMEOUT = {"description": "Max duration of one run in seconds."}
#: The OpenAPI description of a schema field.
SCHEMA = {"type": "object", "description": "JSON Schema 2020-12 of the input; null: any object is accepted."}


class WorkerBody(Strict):
    """A pull worker to create."""

    slug = CheckedString(
        _SLUG.fullmatch,
        "It must match [a-z][a-z0-9_]{0,58}, such as resize.",
        required=True,
        metadata={"description": "The id is `wkr_` followed by the slug.", "pattern": _SLUG.pattern},
    )
    runtime = Choice(_Runtime, required=True, metadata={"description": "`pull`: its runs are claimed over HTTP."})
    name = WorkerName(
        load_default=None,
        allow_none=True,
        metadata={"description": "A display name. Default: the slug."},
    )
    timeout_seconds = PositiveNumber(maximum=3600, load_default=300, metadata=_TIMEOUT)
    retry = fields.Nested(RetryDelaysBody(), load_default=None, allow_none=True)
    input_schema = JsonSchema(attribute="input_schema_json", load_default=None, allow_none=True, metadata=SCHEMA)
    max_running = WholeNumber(
        minimum=0,
        maximum=MAX_RUNNING,
        load_default=None,
        allow_none=True,
        metadata={"description": "Max number of its running jobs; null: no limit."},
    )
    rate = RateString(
        load_default=None,
        allow_none=True,
        metadata={"description": "Max starts per period, such as `100/minute`."},
    )
    expires_in_seconds = WholeNumber(
        minimum=1,
        maximum=MAX_EXPIRY_SECONDS,
        load_default=None,
        allow_none=True,
        metadata={"description": "Time in seconds until its unstarted jobs expire; null: never."},
    )
    deadline_seconds = WholeNumber(
        minimum=1,
        maximum=DEADLINE_SECONDS.value,
        load_default=None,
        allow_none=True,
        metadata={"description": "Time in seconds until its unfinished jobs fail; null: never."},
    )
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={"description": "`platform`: a worker for every tenant; needs platform-admin or above."},
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> tuple[PullWorkerSpec, bool]:
        spec = PullWorkerSpec(
            id=f"wkr_{values['slug']}",
            name=values["name"] or values["slug"],
            timeout_seconds=values["timeout_seconds"],
            max_retries=0 if values["retry"] is None else values["retry"].max,
            retry=values["retry"],
            max_running=values["max_running"],
            rate=values["rate"],
            input_schema_json=values["input_schema_json"],
            expires_in_seconds=values["expires_in_seconds"],
            deadline_seconds=values["deadline_seconds"],
        )
        return spec, values["scope"] is Scope.PLATFORM


class WorkerDeleteQuery(Strict):
    """The parameters of the deletion of a worker."""

    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={"description": "`platform`: a worker of the platform; needs platform-admin or above."},
    )

    @post_load
    def _scope(self, values: dict[str, Any], **_: Any) -> bool:
        return values["scope"] is Scope.PLATFORM


WorkerDeletedRecord = deleted_record("WorkerDeletedRecord", "wkr")
