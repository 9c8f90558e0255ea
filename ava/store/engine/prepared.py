"""Statements that PostgreSQL plans once for each connection: those that every job goes through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg2
from sqlalchemy import Connection

__all__ = ["Prepared"]

_PARAMETER = re.compile(r"%\((\w+)\)s")
_CAST = re.compile(r"%\((\w+)\)s(::\w+(?:\[\])?)?")
#: "prepared statement does not exist" (PostgreSQL manual, appendix A).
_UNKNOWN_STATEMENT = "26000"


class Prepared:
    """A statement with named parameters, `%(name)s`, prepared on each connection when that first runs it.

    Behind a pooler that gives each transaction another connection (PgBouncer, in its transaction mode) the prepared
    statement may not be there; then it is run as it is written.
    """

    def __init__(self, name: str, statement: str) -> None:
        self._name = f"ava_{name}"
        self._statement = statement
        names = list(dict.fromkeys(_PARAMETER.findall(statement)))
        numbers = {each: number for number, each in enumerate(names, 1)}
        numbered = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", statement).replace("%%", "%")
        self._prepare = f"PREPARE {self._name} AS {numbered}"
        # The driver writes a list of texts as `ARRAY['…']`, a text[], which is not taken for a uuid[] by itself.
        casts = {name: cast for name, cast in _CAST.findall(statement) if cast}
        arguments = ", ".join(f"%({each})s{casts.get(each, '')}" for each in names)
        self._execute = f"EXECUTE {self._name}" + (f" ({arguments})" if arguments else "")

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run the statement; its rows. Raises the driver's errors, which `Database` knows as well.

        It goes to the driver straight: describing a result to whoever might want its columns by name takes a third as
        long as these statements do.
        """
        raw: Any = connection.connection.dbapi_connection
        # What is kept here lives as long as the driver's connection does, through any number of loans.
        known: set[str] = connection.info.setdefault("ava_prepared", set())
        try:
            with raw.cursor() as cursor:
                self._run(cursor, known, dict(parameters))
                rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
                return rows
        except psycopg2.Error:
            if raw.closed:
                connection.invalidate()
            raise

    def _run(self, cursor: Any, known: set[str], parameters: dict[str, Any]) -> None:
        if self._name not in known:
            cursor.execute(self._prepare)
            known.add(self._name)
        try:
            cursor.execute(self._execute, parameters)
        except psycopg2.Error as error:
            if error.pgcode != _UNKNOWN_STATEMENT:
                raise
            cursor.execute(self._statement, parameters)
