"""Jobs of a bulk: schemas of requests. Entries with names, and `after`, form a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http.fields import CheckedString, Choice
from ava.api.http.parsing import KEY, WRONG_KEY
from ava.api.http.strict import Entries, Strict
from ava.api.schemas.jobs import TriggerBody
from ava.domain.jobs import graphs
from ava.domain.jobs.job import JobSpec
from ava.domain.limits.table import BULK_JOBS, GRAPH_EDGES, NAMED_ERRORS
from ava.errors import InvalidFields

_EntryName = partial(
    CheckedString, graphs.NAME.fullmatch, "It must be 1 to 59 of `a-z`, `0-9` and `_`, and begin with a letter."
)


def _unique(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValidationError("It must name each entry only once.")


class BulkEntryBody(TriggerBody):
    """A job of a bulk: it may have a name, and depend on other entries."""

    name = _EntryName(
        load_default=None,
        metadata={
            "pattern": "^[a-z][a-z0-9_]{0,58}$",
            "description": "The name of the entry, unique in the bulk. Other entries refer to it in `after` and "
            "`$output`.",
        },
    )
    after = fields.List(
        _EntryName(metadata={"pattern": "^[a-z][a-z0-9_]{0,58}$"}),
        load_default=(),
        validate=_unique,
        metadata={
            "uniqueItems": True,
            "description": "The names of the entries that must end before this entry starts. In its `input`, "
            '`{"$output": "a.rows.0", "default": …}` is replaced by that part of the output of the named '
            "entry.",
        },
    )
    when = Choice(
        graphs.When,
        load_default=graphs.When.COMPLETED,
        metadata={
            "description": "The condition on the outcomes of the `after` entries, evaluated once each of them has "
            "ended or can no longer run: `completed`: every entry completed; `ended`: any outcome; `failed`: at "
            "least one entry did not complete. If it cannot hold, the job is `cancelled` with `error: "
            '"ConditionUnmet: …"`.'
        },
    )

    idempotency_key = CheckedString(
        KEY.fullmatch,
        WRONG_KEY,
        load_default=None,
        allow_none=True,
        metadata={
            "pattern": f"^{KEY.pattern}$",
            "description": "Deduplicates this entry for 24 hours, as the Idempotency-Key header does for a single "
            "trigger with the same key: the entry returns the earlier job. It cannot be combined with the header, "
            "`name` or `after`.",
        },
    )

    def spec(self, values: dict[str, Any]) -> JobSpec:
        """Return the job of loaded values, with its dependencies on other entries."""
        name, after, when = (values.pop(each) for each in ("name", "after", "when"))
        spec = super().spec(values)
        if name is None and not after:
            return spec
        refers = bool(after) and graphs.has_references(spec.input_json)
        return replace(spec, entry=graphs.Entry(name=name, after=tuple(after), when=when, has_references=refers))


class BulkBody(Strict):
    """Many jobs to trigger, all or none. Entries with names and `after` make a graph."""

    jobs = Entries(
        BulkEntryBody(),
        limit=BULK_JOBS,
        required=True,
        metadata={"minItems": 1, "maxItems": BULK_JOBS.value},
    )

    @post_load
    def _specs(self, values: dict[str, Any], **_: Any) -> list[JobSpec]:
        specs: list[JobSpec] = values["jobs"]
        if wrong := _wrong_keys(specs):
            path, reasons = next(iter(wrong.items()))
            raise InvalidFields(f"{path}: {reasons[0]}", wrong)
        if not graphs.is_graph(specs):
            return specs
        if graphs.edges(specs) > GRAPH_EDGES.value:
            reason = GRAPH_EDGES.message(
                f"The after lists of a bulk may have at most {GRAPH_EDGES.value:,} names in total."
            )
            raise InvalidFields(f"jobs: {reason}", {"jobs": [reason]})
        if wrong := graphs.faults(specs, max_faults=NAMED_ERRORS.value):
            path, reasons = next(iter(wrong.items()))
            raise InvalidFields(f"{path}: {reasons[0]}", wrong)
        return specs


def _wrong_keys(specs: Sequence[JobSpec]) -> dict[str, list[str]]:
    """Return the error of the first key that an earlier entry has, or that is in a graph; empty if there is none."""
    seen: dict[str, int] = {}
    for n, spec in enumerate(specs):
        if (key := spec.idempotency_key) is None:
            continue
        if graphs.is_graph(specs):
            return {f"jobs[{n}].idempotency_key": ["It cannot be used in a bulk with `name` or `after` in an entry."]}
        if seen.setdefault(key, n) != n:
            return {
                f"jobs[{n}].idempotency_key": [f"jobs[{seen[key]}] has the same key; keys must be unique in a bulk."]
            }
    return {}
