"""Read rows as the domain's records: a record's dataclass determines its columns and how each is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import EnumType
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from ava.domain import ids
from ava.domain.access.actor import Actor

Record = TypeVar("Record")
Reader = Callable[[Any], Any]


class RecordRows(Generic[Record]):
    """The columns of a record and the reader of their rows.

    The column of a field has its name; that of a field `…_json` lacks this ending and is read as a string. A field with
    a `prefix` in its metadata is an id, and a UUID in the table; the column of an actor has its `text`.
    """

    def __init__(
        self,
        kind: type[Record],
        alias: str,
        *,
        columns: Mapping[str, str] | None = None,
        readers: Mapping[str, Reader] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        """`columns` and `readers`: for fields that differ. `without`: fields that have no column."""
        given, types = columns or {}, get_type_hints(kind)
        # The id is first, so that a statement can order by it.
        stored = [each for each in fields(kind) if each.name not in without]  # type: ignore[arg-type]
        stored.sort(key=lambda each: each.name != "id")
        found = {each.name: _reader(types[each.name], each.metadata.get("prefix")) for each in stored}
        self._kind = kind
        self._names = tuple(found)
        self._readers = [(name, read) for name, read in (found | dict(readers or {})).items() if read is not None]
        #: The columns as SQL, and their number.
        self.columns = ", ".join(given.get(each.name) or _column(alias, each.name, each.metadata) for each in stored)
        self.count = len(stored)

    def read(self, row: Sequence[Any], **others: Any) -> Record:
        """Return the record of a row that begins with the columns; `others` are its fields without a column."""
        values = dict(zip(self._names, row, strict=False), **others)
        for name, read in self._readers:
            if (value := values[name]) is not None:
                values[name] = read(value)
        return self._kind(**values)


def parameters_of(kind: type[Any], record: Any) -> dict[str, object]:
    """Return the fields of a dataclass as parameters of a statement; the parameter of `input_json` is `input`."""
    return {each.name.removesuffix("_json"): getattr(record, each.name) for each in fields(kind)}


def _column(alias: str, name: str, metadata: Mapping[str, Any]) -> str:
    is_cast = name.endswith("_json") or "prefix" in metadata
    return f"{alias}.{name.removesuffix('_json')}{'::text' if is_cast else ''}"


def _reader(type_: Any, prefix: str | None) -> Reader | None:
    """Return the function that converts a value of a column, if it must be converted."""
    if prefix is not None:
        encode = partial(ids.encode, prefix)
        return (lambda uuids: [encode(uuid) for uuid in uuids]) if get_origin(type_) is Sequence else encode
    if type_ is Actor:
        return Actor.parse
    return next((kind for kind in (type_, *get_args(type_)) if isinstance(kind, EnumType)), None)
