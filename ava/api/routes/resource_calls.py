"""The calls that resources share: list, show, delete, pause and resume, from one description of each resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response
from marshmallow import Schema

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller
from ava.api.http.operations import View, operation
from ava.api.http.paging import page_of
from ava.api.http.records import write_deleted
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes.audit import record_pairs
from ava.api.schemas.pause_fields import PauseBody

_REASON = {"reason": "--reason"}


@dataclass(frozen=True, kw_only=True)
class ResourceCalls:
    """A kind of record. `declared` in its methods are further fields of `Operation`, such as permissions."""

    blueprint: Blueprint
    #: The rule of one record, below the blueprint's prefix.
    rule: str
    #: With its article, as in "a hook".
    noun: str
    #: Returns the use cases: `page`, `show`, `delete`, `pause` and `resume`, as far as the resource has these calls.
    #: Each call that pauses or resumes returns whether the record was paused before, and the record.
    find: Callable[[], Any]
    #: Returns the JSON of a record.
    write: Callable[[Any], str]
    record: Schema

    def add(self, below: str, name: str, view: View, method: str = "GET") -> None:
        """Add a call below the rule of one record."""
        self.blueprint.add_url_rule(f"{self.rule}{below}", name, view, methods=[method])

    @property
    def _name(self) -> str:
        return self.noun.partition(" ")[2]

    def add_list(self, query: Schema, *filters: str, description: str = "Newest first.", **declared: Any) -> None:
        """Add the paged list. `filters` are attributes of the loaded query, and arguments of the use case."""
        names = f"{self._name}s"

        @operation(
            summary=f"List {names}", description=description, query=query, record=self.record, is_list=True, **declared
        )
        def view(query: Any) -> Response:
            chosen = {name: getattr(query, name) for name in filters}
            found, total = self.find().page(caller(), **chosen, bounds=query.bounds)
            return page_of(query, found, total, self.write)

        self.blueprint.add_url_rule("", f"list_{names}", view)

    def add_show(self, call: PublicCall | None = None) -> None:
        """Add the call that shows one record."""

        @operation(
            summary=f"Show {self.noun}",
            description=f"Show one {self._name}.",
            call=call or PublicCall(),
            record=self.record,
            failures=(404,),
        )
        def view(**path: str) -> Response:
            return responses.data(self.write(self.find().show(caller(), *path.values())))

        self.add("", "show", view)

    def created(self, record: Any, *, is_replay: bool) -> Response:
        """Return the response for a new record. `is_replay`: for a repeated call."""
        location = f"{self.blueprint.url_prefix}/{record.id}"
        return responses.data(self.write(record), 201, location=location, is_replay=is_replay)

    def add_delete(self, description: str, record: Schema, **declared: Any) -> None:
        """Add the call that deletes one record; `record` is the schema of the response."""

        @operation(
            summary=f"Delete {self.noun}",
            description=description,
            call=PublicCall(help=f"Delete{description.removeprefix('Deletes')}"),
            record=record,
            failures=(404,),
            query=DryRunQuery(),
            is_write=True,
            **declared,
        )
        def view(**path: str) -> Response:
            (record_id,) = path.values()
            self.find().delete(caller(), record_id)
            return responses.data(write_deleted(record_id))

        self.add("", "delete", view, "DELETE")

    def add_pauses(
        self,
        *,
        pause: str,
        resume: str,
        bodies: tuple[Schema, Schema] = (PauseBody(), NoBody()),
        failures: tuple[int, ...] = (404, 413, 415, 422),
        options: Mapping[str, str] = _REASON,
        **declared: Any,
    ) -> None:
        """Add `POST …/pause` and `POST …/resume` with these effects, and with `bodies` in the same order."""

        def add(verb: str, effect: str, body: Schema, *, is_paused: bool) -> None:
            @operation(
                summary=f"{verb.title()} {self.noun}",
                description=f"{effect} Repeated calls have no effect.",
                call=PublicCall(
                    arguments="reason" if is_paused else "",
                    options=options,
                    help=f"{verb.title()} {self.noun}. {effect}",
                ),
                query=DryRunQuery(),
                body=body,
                may_be_empty=True,
                record=self.record,
                failures=failures,
                is_write=True,
                **declared,
            )
            def view(body: dict[str, Any] | None = None, **path: str) -> Response:
                (record_id,) = path.values()
                given = body or {}
                was_paused, found = getattr(self.find(), verb)(caller(), record_id, **given)
                changes = {"paused": (was_paused, is_paused)}
                if was_paused is not is_paused:
                    changes |= {name: (None, value) for name, value in given.items()}
                record_pairs(**changes)
                return responses.data(self.write(found))

            self.add(f"/{verb}", verb, view, "POST")

        add("pause", pause, bodies[0], is_paused=True)
        add("resume", resume, bodies[1], is_paused=False)
