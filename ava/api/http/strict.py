"""Schemas of bodies and queries: an unknown field is refused with a message that lists the known fields.

A body of changes derives its fields from the body that creates the record.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import islice
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, missing, validates_schema
from marshmallow.schema import SchemaMeta

from ava.api.http.fields import MESSAGES, QueryFlag
from ava.api.http.records import fields_of, sent_field
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import NAMED_ERRORS

#: Also of lists and nested objects, which have messages of marshmallow.
_MESSAGES = MESSAGES | {"invalid": "It must be a list.", "type": "It must be an object."}


class _StrictMeta(SchemaMeta):
    def __new__(
        mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], of: type[Any] | None = None, without: str = ""
    ) -> Any:
        created: Any = super().__new__(mcs, name, bases, attrs)
        declared = created._declared_fields
        if isinstance(of, SchemaMeta):
            for field_name, field in of._declared_fields.items():
                if field_name in declared:
                    declared[field_name].metadata = field.metadata | declared[field_name].metadata
            names = created.names.split() or [each for each in of._declared_fields if each not in without.split()]
            derived = {each: created.optional(of._declared_fields[each]) for each in names}
            for each, description in created.descriptions.items():
                derived[each].metadata = derived[each].metadata | {"description": description}
            created._declared_fields = derived | declared
        elif of is not None:
            created._declared_fields = fields_of(of, created.names, declared, sent_field)
        return created

    def __init__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, attrs)  # type: ignore[no-untyped-call]


class Strict(Schema, metaclass=_StrictMeta):
    """A schema of a body or of query parameters that refuses unknown fields.

    With `of`, a dataclass, it has the fields `names`, and declares only the fields that differ. With another schema it
    has `names` of its fields, or all except `without`, optional; it declares further fields, and fields that differ.
    """

    #: The derived fields in the order of the documentation; of a schema all of them, if it is empty.
    names = ""
    #: Descriptions that differ from the schema that the fields derive from.
    descriptions: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def optional(cls, field: fields.Field[Any]) -> fields.Field[Any]:
        """Return a field as this schema has it if it derives from another schema."""
        field = copy.copy(field)
        field.required = False
        return field

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names = ", ".join(field.data_key or name for name, field in self.load_fields.items())
        known = f"known fields are {names}" if names else "no fields are known"
        self.error_messages = self.error_messages | {
            "unknown": f"It is unknown; {known}.",
            "type": "It must be an object.",
        }

    def _init_fields(self) -> None:
        super()._init_fields()
        for field in self.load_fields.values():
            field.error_messages = field.error_messages | _MESSAGES
        fields_ = {field.data_key or name: (field.attribute or name, field) for name, field in self.load_fields.items()}
        #: Fields by JSON name, each with its name in the loaded dict.
        self._known: dict[str, tuple[str, fields.Field[Any]]] = fields_
        self._defaults = {
            name: field.load_default for name, field in fields_.values() if field.load_default is not missing
        }

    def _deserialize(self, data: Any, *, error_store: Any, **_: Any) -> dict[str, Any]:
        """Return the loaded fields. An absent field costs one lookup; marshmallow's own method costs it 2 µs.

        Checks only as many unknown fields as an error names.
        """
        if not isinstance(data, Mapping):
            error_store.store_error([self.error_messages["type"]])
            return {}
        loaded = self._defaults.copy()
        for key, (name, field) in self._known.items():
            if key in data or field.required:
                try:
                    loaded[name] = field.deserialize(data.get(key, missing), key, data)
                except ValidationError as error:
                    error_store.store_error(error.messages, key)
        if not data.keys() <= self._known.keys():
            for key in islice((key for key in data if key not in self._known), NAMED_ERRORS.value):
                error_store.store_error([self.error_messages["unknown"]], key)
        return loaded


class Changes(Strict):
    """Changes to a record, at least one: `class HookChangeBody(Changes, of=HookBody, without="provider")`.

    An absent field stays as it is, so the derived fields have no defaults.
    """

    @classmethod
    def optional(cls, field: fields.Field[Any]) -> fields.Field[Any]:
        field = super().optional(field)
        field.load_default = missing
        return field

    @validates_schema
    def _any(self, values: dict[str, Any], **_: Any) -> None:
        if not values.keys() - self._defaults.keys():
            others = f" in addition to {', '.join(self._defaults)}" if self._defaults else ""
            raise ValidationError(f"It must have at least one field{others}.")


class Entries(fields.List[Any]):
    """A list. Checks the length first, then the entries until `NAMED_ERRORS` of them are invalid."""

    def __init__(self, entry: Strict, *, limit: Limit, **rest: Any) -> None:
        super().__init__(fields.Nested(entry), **rest)
        self._entry = entry
        self._limit = limit

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if not 1 <= len(value) <= self._limit.value:
            raise ValidationError(self._limit.message(f"There must be 1 to {self._limit.value} entries."))
        loaded: list[Any] = []
        wrong: dict[int, Any] = {}
        for index, entry in enumerate(value):
            try:
                loaded.append(self._entry.load(entry))
            except ValidationError as error:
                wrong[index] = error.messages
                if len(wrong) == NAMED_ERRORS.value:
                    break
        if wrong:
            raise ValidationError(wrong)
        return loaded


class NoParameters(Strict):
    """A route that takes no query parameters."""


class DryRunQuery(Strict):
    """The query of a change with a dry run, which only checks. Its view does not get it."""

    dry_run = QueryFlag(
        load_default=False,
        metadata={
            "description": "True: check the request and store nothing. The response is the same as without it, but "
            "its ids refer to nothing."
        },
    )


class NoBody(Strict):
    """A route that takes no fields: its body is empty, or an empty object."""
