"""`POST …/pause` and `POST …/resume`, in one form for every resource that can be paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from flask import Blueprint, Response
from marshmallow import Schema

from ava.api.http import responses
from ava.api.http.context import caller
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes.audit import record_pairs
from ava.api.schemas.pause_fields import PauseBody


class Pausing(Protocol):
    """Use cases that pause a resource. Each call returns whether it was paused before, and its record."""

    @property
    def pause(self) -> Callable[..., tuple[bool, Any]]:
        """Pause the resource of the caller with this id, with the fields of the body; a paused one keeps its pause."""

    @property
    def resume(self) -> Callable[..., tuple[bool, Any]]:
        """End the pause."""


def add_pauses(
    blueprint: Blueprint,
    rule: str,
    find: Callable[[], Pausing],
    write: Callable[[Any], str],
    *,
    noun: str,
    effects: tuple[str, str],
    record: Schema,
    bodies: tuple[Schema, Schema] = (PauseBody(), NoBody()),
    failures: tuple[int, ...] = (404, 413, 415, 422),
    **declared: Any,
) -> None:
    """Add both calls below the rule of a record, such as `/<queue>`.

    `find` returns the use cases; `effects` and `bodies` belong to `pause` and `resume`, in this order; `declared` has
    the permissions of `Operation`.
    """

    def add(verb: str, effect: str, body: Schema, *, is_paused: bool) -> None:
        @operation(
            summary=f"{verb.title()} {noun}",
            description=f"{effect} Repeated calls have no effect.",
            query=DryRunQuery(),
            body=body,
            may_be_empty=True,
            record=record,
            failures=failures,
            is_write=True,
            **declared,
        )
        def view(body: dict[str, Any] | None = None, **path: str) -> Response:
            (record_id,) = path.values()
            given = body or {}
            was_paused, found = getattr(find(), verb)(caller(), record_id, **given)
            changes = {"paused": (was_paused, is_paused)}
            if was_paused is not is_paused:
                changes |= {name: (None, value) for name, value in given.items()}
            record_pairs(**changes)
            return responses.data(write(found))

        blueprint.add_url_rule(f"{rule}/{verb}", verb, view, methods=["POST"])

    add("pause", effects[0], bodies[0], is_paused=True)
    add("resume", effects[1], bodies[1], is_paused=False)
