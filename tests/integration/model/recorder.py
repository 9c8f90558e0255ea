"""Which statements a connection sends, and a kill before or after one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import psycopg2.extensions
from sqlalchemy import event

from ava.store.engine.database import Database
from ava.store.statements import all_statements
from tests.integration.model import state


class Killed(BaseException):
    """The process that sent the statement is gone: no handler of an error runs."""


class Recorder:
    """Counts the store's statements, and kills the process that sends them where a test says so."""

    def __init__(self, change: Callable[[Collection[str], str], str] = lambda _, sql: sql) -> None:
        """`change` returns the text that is sent in place of that of statements."""
        self._change = change
        #: How often each statement was sent, and how often it had an effect.
        self.sent: Counter[str] = Counter()
        self.effective: Counter[str] = Counter()
        #: The statements of this step.
        self.step: list[str] = []
        self.has_killed = False
        self._left: int | None = None
        self._is_after = False

    def begin(self, *, kill_at: int | None = None, is_after: bool = False) -> None:
        """Begin a step, which is killed at the given statement, before it is sent or after."""
        self.step, self.has_killed, self._left, self._is_after = [], False, kill_at, is_after

    def execute(self, send: Any, query: Any, parameters: Any, cursor: Any) -> None:
        names = _names(query if isinstance(query, str) else "")
        is_killed = False
        if names and self._left is not None:
            self._left -= 1
            is_killed = self._left <= 0
        if is_killed:
            self._left, self.has_killed = None, True
            if not self._is_after:
                raise Killed
        send(self._change(names, query) if names else query, parameters)
        self.step += names
        self.sent.update(names)
        if cursor.rowcount > 0:
            self.effective.update(names)
        if is_killed:
            raise Killed


@cache
def _names_by_sql() -> dict[str, list[str]]:
    names_by_sql: dict[str, list[str]] = {}
    for name, statement in all_statements().items():
        names_by_sql.setdefault(str(statement), []).append(name)
    return names_by_sql


@cache
def _names(query: str) -> list[str]:
    """Returns the names of the store's statements that a query has."""
    if exact := _names_by_sql().get(query):
        return exact
    return [name for sql, names in _names_by_sql().items() if sql in query for name in names]


def open_database(url: str, recorder: Recorder) -> Database:
    """Returns a database whose connections the recorder watches.

    No statement of the store is prepared, so each text is sent whole.
    """

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:
            recorder.execute(super().execute, query, vars, self)

    database = Database(url, name="model", is_pooled=True)

    def watch(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(state.PREPARE)
        connection.cursor_factory = Cursor

    event.listen(database._engine, "connect", watch)
    return database
