"""Workers: schemas of requests and responses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load

from ava.api.http import paging
from ava.api.http.fields import (
    STORABLE,
    BoundedString,
    CheckedString,
    Choice,
    JsonString,
    PositiveNumber,
    QueryFlag,
    WholeNumber,
    filtered,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.approvals import rule_field
from ava.api.schemas.pause_fields import PauseBody, paused_filter
from ava.api.schemas.setting_fields import NamedStrings, RateString
from ava.api.schemas.trigger_fields import RetryDelaysBody
from ava.domain.input_schema import check_schema
from ava.domain.limits.table import DEADLINE_SECONDS, WORKER_ENTRIES, WORKER_SECRETS
from ava.domain.schema_costs import TENANTS
from ava.domain.strings import storable
from ava.domain.worker import PULL_RUNTIME, PullWorkerSpec, Scope, Worker, WorkerSettings, WorkerStatus
from ava.services.workers import WorkerChange
from ava.store.fleet.workers import WorkerFilter

#: Min characters of a secret: a shorter one would also be masked in ordinary words.
_SHORTEST_SECRET = 4
#: Of a pull worker.
_DEFINITION = ("name", "input_schema_json", "expires_in_seconds", "deadline_seconds")
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,58}")
_SETTINGS = ("status", "timeout_seconds", "max_retries", "retry", "max_running", "rate", "approval_json")


# In ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WorkerListRequest(PageRequest):
    """A page and filters of workers."""

    worker_filter: WorkerFilter


class WorkerListQuery(PageQuery):
    """The parameters of the list of workers."""

    status = Choice(WorkerStatus, **filtered("status", "Only workers with this status."))
    is_live = QueryFlag(
        **filtered("live", "Only workers with a live node (true), or only workers without one (false).")
    )
    search = BoundedString(
        100,
        characters=STORABLE,
        data_key="q",
        load_default=None,
        metadata={"description": "A part of the name or id, in upper or lower case."},
    )
    is_paused = paused_filter("workers")
    cursor = cursor_field(paging.client_id_reader("wkr"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> WorkerListRequest:
        page = take_page(values)
        return WorkerListRequest(**page, worker_filter=WorkerFilter(**values))


def _scope() -> Choice:
    return Choice(
        Scope,
        load_default=None,
        metadata={
            "description": "`platform`: for all tenants; needs platform-admin or above. Default: for the tenant. Each "
            "side resumes its own pause."
        },
    )


class WorkerPauseBody(PauseBody):
    """Why a worker is paused, for its tenant or for all tenants."""

    scope = _scope()


class WorkerResumeBody(Strict):
    """The side that resumes a worker: its tenant or the platform."""

    scope = _scope()


class _Runtime(StrEnum):
    """The runtimes of workers that clients can create."""

    PULL = PULL_RUNTIME


class JsonSchema(JsonString):
    """A JSON Schema."""

    def read(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ValidationError("It must be a JSON Schema, an object.")
        try:
            return check_schema(value, TENANTS)
        except ValueError as error:
            raise ValidationError(f"It is not a usable JSON Schema: {storable(str(error), 300)}.") from None


class WorkerBody(Strict, of=PullWorkerSpec):
    """A pull worker to create."""

    names = (
        "slug runtime name timeout_seconds retry input_schema max_running rate expires_in_seconds deadline_seconds "
        "scope"
    )
    slug = CheckedString(
        _SLUG.fullmatch,
        "It must match [a-z][a-z0-9_]{0,58}, such as resize.",
        required=True,
        metadata={"description": "The id is `wkr_` followed by the slug.", "pattern": _SLUG.pattern},
    )
    runtime = Choice(_Runtime, required=True, metadata={"description": "`pull`: its runs are claimed over HTTP."})
    name = BoundedString(
        200,
        characters=STORABLE,
        load_default=None,
        allow_none=True,
        metadata={"description": "A display name. Default: the slug."},
    )
    retry = fields.Nested(RetryDelaysBody(), load_default=None, allow_none=True)
    input_schema = JsonSchema(
        attribute="input_schema_json",
        load_default=None,
        allow_none=True,
        metadata={"type": "object", "description": "JSON Schema 2020-12 of the input; null: any object is accepted."},
    )
    rate = RateString(
        load_default=None,
        allow_none=True,
        metadata={"description": "Max starts per period, such as `100/minute`."},
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
        slug, name, scope = (values.pop(each) for each in ("slug", "name", "scope"))
        max_retries = 0 if values["retry"] is None else values["retry"].max
        del values["runtime"]
        spec = PullWorkerSpec(id=f"wkr_{slug}", name=name or slug, max_retries=max_retries, **values)
        return spec, scope is Scope.PLATFORM


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


class WorkerChangeBody(Changes, of=WorkerBody, without="slug runtime"):
    """Settings of a worker; only the sent fields change, and null resets a setting."""

    descriptions: ClassVar = {
        "name": "Can be changed only for a pull worker, by its owner.",
        "max_running": "Max number of its running jobs, per value of the declared `max_running_per`; 0: none. Needs "
        "scope `platform`, unless the worker belongs to the tenant. Waiting jobs follow within 2 s.",
        "rate": "Max starts per period, such as `100/minute`. Needs scope `platform`, as `max_running` does.",
        "expires_in_seconds": "Time in seconds until its unstarted jobs expire. Can be changed only for a pull worker, "
        "by its owner.",
        "deadline_seconds": "Time in seconds until its unfinished jobs fail. Can be changed only for a pull worker, "
        "by its owner.",
    }
    status = Choice(
        WorkerStatus,
        allow_none=True,
        metadata={"description": "`paused`: its jobs wait. `deprecated`: triggers are refused (409)."},
    )
    config = NamedStrings(
        limit=WORKER_ENTRIES,
        metadata={"description": 'Values of `env["KEY"]` in the handler; null deletes an entry.'},
    )
    secrets = NamedStrings(
        limit=WORKER_SECRETS,
        shortest=_SHORTEST_SECRET,
        metadata={
            "writeOnly": True,
            "description": 'Values of `env.secrets["NAME"]` in the handler; never shown again. Null deletes an entry.',
        },
    )
    timeout_seconds = PositiveNumber(
        maximum=3600, allow_none=True, metadata={"description": "At most the value that the handler declares."}
    )
    max_retries = WholeNumber(
        minimum=0,
        maximum=25,
        allow_none=True,
        metadata={"description": "At most the value that the handler declares; the short form of `retry`."},
    )
    approval = rule_field(
        "The decision of persons that each new job needs before its first start. The first with a matching `when` "
        "applies: the handler's, the platform's, then the tenant's. Jobs that already wait keep theirs.",
        attribute="approval_json",
    )
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={
            "description": "`platform`: the settings of all tenants, which each tenant's own settings override; "
            "needs platform-admin or above."
        },
    )

    @post_load
    def _change(self, values: dict[str, Any], **_: Any) -> WorkerChange:
        scope = values.pop("scope")
        retry = values.get("retry")
        if retry is not None and "max_retries" in values:
            raise ValidationError("It is the short form of retry; send either retry or max_retries.", "max_retries")
        if "retry" in values:
            values.setdefault("max_retries", None if retry is None else retry.max)
        return WorkerChange(
            is_of_platform=scope is Scope.PLATFORM,
            definition={name: values[name] for name in _DEFINITION if name in values},
            fields={name: values[name] for name in _SETTINGS if name in values},
            config=values.get("config", {}),
            secrets=values.get("secrets", {}),
        )


# Out -----------------------------------------------------------------------------------------------------------------


class WorkerRecord(RecordSchema, of=Worker):
    """A worker: a definition of jobs, with the settings that apply to the tenant."""

    names = (
        "id name description runtime status timeout_seconds max_retries queue created_at updated_at live scope paused "
        "handler_timeout_seconds handler_max_retries retry retention_days expires_in_seconds deadline_seconds mcp "
        "max_memory_mb max_running max_running_per rate rate_per"
    )
    # The domain of handlers reads no settings, and the limit is one.
    deadline_seconds = WholeNumber(
        minimum=1,
        maximum=DEADLINE_SECONDS.value,
        allow_none=True,
        metadata={
            "description": "Seconds from its creation or `scheduled_at` until an unfinished job fails, waits "
            "included, as the handler declares; null: never."
        },
    )


class PlatformSettingsRecord(RecordSchema, of=WorkerSettings):
    """The settings of a worker for all tenants."""

    names = "status config secrets timeout_seconds max_retries retry max_running rate approval"


_write_settings = compile_schema(PlatformSettingsRecord())


def _hide_settings(_record: object, settings: WorkerSettings | None) -> str:
    return "null" if settings is None else _write_settings.hidden(settings)


class WorkerWithSettingsRecord(WorkerRecord, of=Worker):
    """A worker, with the schema of its input and its settings."""

    names = f"{WorkerRecord.names} input_schema config secrets approval handler_approval platform"
    platform = JsonString(
        allow_none=True,
        metadata={
            "type": "object",
            "description": "The settings of all tenants; a tenant's settings override them: `status`, `config`, "
            "`secrets` (their names), `timeout_seconds`, `max_retries`, `retry`, `max_running`, `rate`, "
            "`approval`. For roles below platform-admin the values of `config` are hidden. Null if there are none.",
            "payload": _hide_settings,
        },
    )


WorkerDeletedRecord = deleted_record("WorkerDeletedRecord", "wkr")
write_worker = compile_schema(WorkerRecord())
write_worker_with_settings = compile_schema(WorkerWithSettingsRecord(), platform=_write_settings.whole)
