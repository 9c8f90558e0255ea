"""Read rows as the domain's records: a record's dataclass determines its columns and how each is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import EnumType
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import Connection, CursorResult

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.counts import PageBounds
from ava.store.engine.statement import Statement

Record = TypeVar("Record")
Reader = Callable[[Any], Any]


class RecordRows(Generic[Record]):
    """The columns of a record and the reader of their rows.

    A field and its column have the same name; the column of a field `…_json` lacks this ending and is read as a string.
    A field with a `prefix` in its metadata is an id, and a UUID in the table; the column of an actor has its `text`.
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
        self._alias = alias
        # The id is first, so that a statement can order by it.
        stored = [each for each in fields(kind) if each.name not in without]  # type: ignore[arg-type]
        stored.sort(key=lambda each: each.name != "id")
        self._prefix = next((each.metadata["prefix"] for each in stored if "prefix" in each.metadata), "")
        found = {each.name: _reader(types[each.name], each.metadata.get("prefix")) for each in stored}
        self._readers = found | dict(readers or {})
        self._scope = {"record_of": kind} | {f"read_{name}": read for name, read in self._readers.items()}
        self._read = self._compile(())
        self._reads: dict[tuple[str, ...], Callable[..., Record]] = {}
        self._columns = {each.name: given.get(each.name) or _column(alias, each.name, each.metadata) for each in stored}
        #: The columns as SQL, and their number.
        self.columns, self.count = self.select(), len(stored)

    def select(self, **columns: str) -> str:
        """Return the columns as SQL, some of them replaced."""
        return ", ".join((self._columns | columns).values())

    def read(self, row: Sequence[Any], **others: Any) -> Record:
        """Return the record of a row that begins with the columns; `others` are its fields without a column."""
        if not others:
            return self._read(*row[: self.count])
        names = tuple(others)
        read = self._reads.get(names) or self._reads.setdefault(names, self._compile(names))
        return read(*row[: self.count], *others.values())

    def first(self, result: CursorResult[Any]) -> Record | None:
        """Return the record of the first row; None if there is none."""
        row = result.first()
        return None if row is None else self.read(row)

    def newest(self, table: str, where: str) -> tuple[Statement, Statement]:
        """Return the statements of `page`: the rows that meet a condition, newest first, and their number."""
        matching, id_ = f"FROM {table} AS {self._alias} WHERE {where}", f"{self._alias}.id"
        part = f"AND (%(before_id)s::uuid IS NULL OR {id_} < %(before_id)s::uuid) ORDER BY {id_} DESC"
        return (
            Statement(f"SELECT {self.columns} {matching} {part} LIMIT %(limit)s OFFSET %(offset)s"),
            Statement(f"SELECT count(*) {matching}"),
        )

    def page(
        self, connection: Connection, statements: tuple[Statement, Statement], bounds: PageBounds, **given: object
    ) -> tuple[list[Record], int]:
        """Return a page of records and their number, by the statements of `newest`."""
        page, count = statements
        found = [self.read(row) for row in connection.exec_driver_sql(page, given | bounds.before(self._prefix))]
        return found, int(connection.exec_driver_sql(count, given).scalar_one())

    def _compile(self, others: Sequence[str]) -> Callable[..., Record]:
        """Return the function that reads the values of the columns, and of other fields.

        It is generated code, as a dataclass has: a loop over the fields takes a fifth longer for a job.
        """
        values = [
            f"{name}={name}" if read is None else f"{name}=None if {name} is None else read_{name}({name})"
            for name, read in (self._readers | dict.fromkeys(others)).items()
        ]
        parameters = ", ".join((*self._readers, *others))
        source = f"lambda {parameters}: record_of({', '.join(values)})"
        # Only names of fields.
        compiled: Callable[..., Record] = eval(source, self._scope)  # noqa: S307
        return compiled


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
    enum: Any = next((kind for kind in (type_, *get_args(type_)) if isinstance(kind, EnumType)), None)
    if enum is None or "_missing_" in vars(enum):
        return enum  # type: ignore[no-any-return]
    # A lookup takes a quarter of the time of the enumeration's call.
    known: dict[str, Any] = {each.value: each for each in enum}
    return known.__getitem__
