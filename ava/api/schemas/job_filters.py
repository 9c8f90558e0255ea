"""The filters of jobs, declared once: as parameters of lists and exports, and as fields of bodies; and tags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, pre_load

from ava.api.http import payloads
from ava.api.http.fields import (
    BoundedString,
    Characters,
    CheckedString,
    Choice,
    ClientId,
    Flag,
    Instant,
    JsonObject,
    Plain,
    QueryFlag,
    QueryInstant,
    WholeNumber,
)
from ava.api.http.strict import Strict
from ava.domain import ids
from ava.domain.jobs import priority
from ava.domain.jobs.job import Status, Trigger
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.wait_reasons import KNOWN
from ava.domain.limits.table import INPUT_FILTERS, TAGS
from ava.domain.secrets.redaction import is_credential

#: OpenAPI patterns of strings without control characters.
_VALUE_FORM = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]{1,64}$"}
_ERROR_FORM = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]{3,200}$"}
_MAKER_FORM = {"type": "string", "pattern": "^[a-z]{2,3}_[0-9a-z_]{1,60}$"}
_ERROR_ID_FORM = {"type": "string", "pattern": "^err_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}$"}
_ID_FORM = {"type": "string", "pattern": "^(job_)?0[0-9abcdefghjkmnpqrstvwxyz]{3,25}$"}
_WHOLE_ID_FORM = {"type": "string", "pattern": "^job_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}$"}
#: The OpenAPI form of tags.
TAGS_FORM = {
    "type": "object",
    "maxProperties": TAGS.value,
    "propertyNames": {"pattern": "^[a-z0-9_.-]{1,32}$"},
    "additionalProperties": _VALUE_FORM,
}
_KEY = re.compile(r"[a-z0-9_.-]{1,32}")
_LONGEST_VALUE = 64
_MAKER = re.compile(r"[a-z]{2,3}_[0-9a-z_]{1,60}")
_TAG_PARAMETER = re.compile(r"filter\[tag\.(.*)\]", re.DOTALL)
#: The OpenAPI name of the tag parameters; each real one contains its own key.
_TAG_EXAMPLE = "filter[tag.key]"
_INPUT_PARAMETER = re.compile(r"filter\[input\.(.*)\]", re.DOTALL)
_INPUT_EXAMPLE = "filter[input.path]"
_LONGEST_PATH, _LONGEST_INPUT = 200, 500
_INPUT_FORM = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]{1,500}$"}
#: The OpenAPI form of input values.
_INPUTS_FORM = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": INPUT_FILTERS.value,
    "propertyNames": {"pattern": r"^[^\x00-\x1f\x7f.]{1,50}(\.[^\x00-\x1f\x7f.]{1,50}){0,2}$"},
    "additionalProperties": {"type": ["string", "number", "boolean", "null"], "maxLength": _LONGEST_INPUT},
}


class Tags(JsonObject):
    """Tags: an object of strings, stored as JSON."""

    def read(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ValidationError("It must be an object.")
        if len(value) > TAGS.value:
            raise ValidationError(TAGS.message(f"It must have at most {TAGS.value} tags."))
        for key, tag_value in value.items():
            _check_tag(key, tag_value)
        return json.dumps(value, separators=(",", ":"))


def _check_tag(key: str, value: Any) -> None:
    if not _KEY.fullmatch(key):
        raise ValidationError(f"The key {key[:40]!r} must be 1 to 32 of a-z, 0-9, _, . and -.")
    is_string = isinstance(value, str) and 1 <= len(value) <= _LONGEST_VALUE
    if not is_string or not _is_storable(value):
        raise ValidationError(
            f"The value of {key!r} must be 1 to 64 characters without control characters or lone surrogates."
        )


def _is_storable(string: str) -> bool:
    return not any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF or ord(char) == 127 for char in string)


class _TagFilters(Plain):
    """The tags that jobs have, by key."""

    def read(self, value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict) or not value:
            raise ValidationError("It must be an object with at least one tag.")
        if len(value) > TAGS.value:
            raise ValidationError(TAGS.message(f"There must be at most {TAGS.value} tags."))
        for key, tag_value in value.items():
            _check_tag(key, tag_value)
        return tuple(value.items())


class _InputFilters(Plain):
    """Values in the input by path: each a string, number, true, false or null."""

    def read(self, value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict) or not value:
            raise ValidationError("It must be an object with at least one path and its value.")
        if len(value) > INPUT_FILTERS.value:
            raise ValidationError(INPUT_FILTERS.message(f"There must be at most {INPUT_FILTERS.value} paths."))
        return tuple((_checked_path(path), _as_text(path, wanted)) for path, wanted in value.items())


def _checked_path(path: str) -> str:
    keys = path.split(".")
    if len(path) > _LONGEST_PATH or not _is_storable(path) or not all(keys):
        raise ValidationError(
            f"The path {path[:40]!r} must be keys separated by dots, such as account.id; 0 is a list's first entry."
        )
    if any(map(is_credential, keys)):
        raise ValidationError(f"The value of {path!r} looks like a credential, which cannot be searched.")
    return path


def _as_text(path: str, wanted: Any) -> str:
    if isinstance(wanted, dict | list):
        raise ValidationError(f"The value of {path!r} must be a string, a number, true, false or null.")
    string = wanted if isinstance(wanted, str) else json.dumps(wanted)
    if not 1 <= len(string) <= _LONGEST_INPUT or not _is_storable(string):
        raise ValidationError(
            f"The value of {path!r} must be 1 to {_LONGEST_INPUT} characters without control characters."
        )
    return string


_job_id = partial(
    CheckedString,
    lambda id_: ids.decode("job", id_) is not None,
    "It must be the id of a job, which begins with job_.",
)
_INPUT_TEXT = "The exact value at a path in the input: a string, number, true, false or null, as it was written"


def filter_fields(
    *, in_query: bool, statuses: type[StrEnum] = Status, with_searched: bool = False
) -> dict[str, fields.Field[Any]]:
    """Return the fields of a filter: `filter[status]` in a query, `status` in a body; all are optional.

    `statuses`: the statuses that the filter accepts. `with_searched` adds the filters without an index
    (`JobFilter.is_searched`), for endpoints that can search.
    """
    instant = QueryInstant if in_query else Instant

    def named(name: str, description: str, **form: Any) -> dict[str, Any]:
        key = {"data_key": f"filter[{name}]"} if in_query else {}
        return {"load_default": None, "metadata": {"description": description, **form}, **key}

    found: dict[str, fields.Field[Any]] = {
        "worker_id": ClientId("wkr", **named("worker_id", "Only jobs of this worker.")),
        "status": Choice(statuses, **named("status", "Only jobs with this status.")),
        "trigger": Choice(Trigger, **named("trigger", "Only jobs with this trigger.")),
        "created_after": instant(**named("created_after", "Only jobs created at or after this time, in ISO 8601.")),
        "created_before": instant(**named("created_before", "Only jobs created before this time, in ISO 8601.")),
    }
    if not with_searched:
        return found
    return found | _searched_fields(named, instant, in_query)


def _searched_fields(
    named: Callable[..., dict[str, Any]], instant: type[fields.Field[Any]], in_query: bool
) -> dict[str, fields.Field[Any]]:
    tags = "Only jobs with this tag; replace `key` with the key of the tag."
    ended = "Only jobs that ended {} this time, in ISO 8601."
    return {
        "completed_after": instant(**named("completed_after", ended.format("at or after"))),
        "completed_before": instant(**named("completed_before", ended.format("before"))),
        "waits_for": Choice(KNOWN, **named("waits_for", "Only queued jobs with this wait reason.")),
        "priority": WholeNumber(
            minimum=priority.FIRST,
            maximum=priority.LAST,
            is_string=in_query,
            **named("priority", "Only jobs with this priority."),
        ),
        "triggered_by": CheckedString(
            _MAKER.fullmatch,
            "It must be an id, such as usr_01hxyz: its prefix and 1 to 60 of a-z, 0-9 and _.",
            **named("triggered_by", "Only jobs triggered by this user, schedule or key.", **_MAKER_FORM),
        ),
        "error": BoundedString(
            200,
            shortest=3,
            characters=Characters("characters without control characters", _is_storable),
            **named(
                "error",
                "A part of the error, at least 3 characters, in upper or lower case.",
                **_ERROR_FORM,
            ),
        ),
        "error_id": CheckedString(
            lambda id_: ids.decode("err", id_) is not None,
            "It must be the id of an error group, which begins with err_.",
            **named("error_id", "Only failed jobs of this error group.", **_ERROR_ID_FORM),
        ),
        "id": CheckedString(
            lambda part: ids.find_part("job", part) is not None,
            "It must be a job's id, or at least 4 digits of one.",
            **named(
                "id",
                "A job's id, or at least 4 characters of it: its beginning (`job_01kq`), its end (`…8w3fq0za`) or "
                "any other part (`3fq0`).",
                **_ID_FORM,
            ),
        ),
        "parent_id": _job_id(**named("parent_id", "Only jobs that the handler of this job created.", **_WHOLE_ID_FORM)),
        "tree_id": _job_id(
            **named(
                "tree_id", "Only jobs of the tree with this id, which is the id of its first job.", **_WHOLE_ID_FORM
            )
        ),
        "root": (QueryFlag if in_query else Flag)(
            **named("root", "True: only the roots of trees, and jobs without a tree.")
        ),
        "tags": _TagFilters(
            **named("tag.key", tags, **_VALUE_FORM)
            if in_query
            else named("tags", "Only jobs with all of these tags.", **TAGS_FORM, minProperties=1)
        ),
        "input": _InputFilters(
            **named("input.path", f"{_INPUT_TEXT}; replace `path` with its path, such as `account.id`.", **_INPUT_FORM)
            if in_query
            else named("input", f"{_INPUT_TEXT}, by its path, such as `account.id`.", **_INPUTS_FORM)
        ),
    }


class JobFilterQuery(Strict):
    """Filters of jobs as the parameters of a query."""

    class Meta:
        """The filters."""

        include = filter_fields(in_query=True, with_searched=True)

    @pre_load
    def _gather_named(self, data: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Merge the tag parameters into one and the input parameters into another: their names contain keys and
        paths."""
        return _gathered(_gathered(data, _TAG_PARAMETER, _TAG_EXAMPLE), _INPUT_PARAMETER, _INPUT_EXAMPLE)


def _gathered(data: Mapping[str, Any], parameter: re.Pattern[str], one: str) -> dict[str, Any]:
    found = {name: parameter.fullmatch(name) for name in data}
    others = {name: value for name, value in data.items() if found[name] is None}
    values = {match[1]: data[name] for name, match in found.items() if match is not None}
    return others | {one: values} if values else others


def take_filter(values: dict[str, Any]) -> JobFilter:
    """Remove the filter fields from loaded values. Returns the filter."""
    taken = {name: values.pop(name) for name in JobFilter.__dataclass_fields__ if name in values}
    if taken.get("error") is not None or taken.get("input"):
        payloads.require()
    return JobFilter(**taken | {"status": taken["status"] and Status(taken["status"])})
