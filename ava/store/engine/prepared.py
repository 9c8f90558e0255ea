"""Statements that PostgreSQL plans once per connection: the ones that every job needs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from sqlalchemy import Connection

from ava.store.engine.statement import Statement

_PARAMETER = re.compile(r"%\((\w+)\)s")
_CAST = re.compile(r"%\((\w+)\)s(::\w+(?:\[\])?)?")
#: "prepared statement does not exist" (PostgreSQL manual, appendix A).
_UNKNOWN_STATEMENT = "26000"
#: Keys of a connection's `info`: when it prepared each statement, and whether it prepares none.
_KNOWN, _DISABLED = "ava_prepared", "ava_prepares_nothing"


def disable(_connection: Any, record: Any) -> None:
    """Make a new connection of SQLAlchemy's pool prepare nothing; a listener for its event `connect`."""
    record.info[_DISABLED] = True


class Prepared:
    """A statement with named parameters, `%(name)s`, which each connection prepares on its first run.

    Not behind a pooler that may use another session for each transaction (PgBouncer's transaction mode).
    """

    def __init__(self, name: str, statement: str, *, plan_seconds: float = float("inf")) -> None:
        """`plan_seconds`: seconds between replans, which use the current table sizes.

        A plan made while a table is nearly empty may read a whole index once that has grown.
        """
        self._name = f"ava_{name}"
        self._plan_seconds = plan_seconds
        self.statement = Statement(statement)
        names = list(dict.fromkeys(_PARAMETER.findall(statement)))
        numbers = {each: number for number, each in enumerate(names, 1)}
        numbered = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", statement).replace("%%", "%")
        self._prepare = f"PREPARE {self._name} AS {numbered}"
        # The driver writes a list of strings as `ARRAY['…']`, a text[], which PostgreSQL does not cast to uuid[].
        casts = {name: cast for name, cast in _CAST.findall(statement) if cast}
        arguments = ", ".join(f"%({each})s{casts.get(each, '')}" for each in names)
        self._execute = f"EXECUTE {self._name}" + (f" ({arguments})" if arguments else "")

    def run(
        self, connection: Connection, parameters: Mapping[str, Any], *, before: str = "", after: Prepared | None = None
    ) -> list[tuple[Any, ...]]:
        """Run the statement and return its rows. Raises the driver's errors, which `Database` translates.

        `before`: statements to send first in the same message, each with a `;`. `after`: a prepared statement to send
        before this one, with the same `parameters`. The statements of a message are one transaction.

        Bypasses SQLAlchemy, which takes a third of such a statement's time to describe the result.
        """
        raw: Any = connection.connection.dbapi_connection
        # Lives as long as the driver's connection, across checkouts.
        info = connection.info
        statements = [self] if after is None else [after, self]
        try:
            with raw.cursor() as cursor:
                if _DISABLED in info:
                    cursor.execute(before + _joined(statements), parameters)
                else:
                    _execute(cursor, info.setdefault(_KNOWN, {}), statements, dict(parameters), before)
                rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
                return rows
        except psycopg2.Error:
            if raw.closed:
                connection.invalidate()
            raise

    def prepare(self, cursor: Any, known: dict[str, float]) -> None:
        """Prepare the statement unless the connection knows it; `known` has the times of preparation."""
        now, prepared_at = time.monotonic(), known.get(self._name)
        if prepared_at is None or now - prepared_at > self._plan_seconds:
            known.pop(self._name, None)
            cursor.execute(self._prepare if prepared_at is None else f"DEALLOCATE {self._name}; {self._prepare}")
            known[self._name] = now

    @property
    def execute(self) -> str:
        return self._execute


def _joined(statements: Sequence[Prepared]) -> str:
    return ";".join(each.statement for each in statements)


def _execute(
    cursor: Any, known: dict[str, float], statements: Sequence[Prepared], parameters: dict[str, Any], before: str
) -> None:
    try:
        for each in statements:
            each.prepare(cursor, known)
        cursor.execute(before + ";".join(each.execute for each in statements), parameters)
    except psycopg2.Error as error:
        if error.pgcode != _UNKNOWN_STATEMENT:
            raise
        cursor.execute(before + _joined(statements), parameters)
