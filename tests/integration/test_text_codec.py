"""Names and strings of any script come from PostgreSQL as they are, and no name costs a call of Python."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from ava.settings import Settings
from ava.store.engine.database import Database

TEXT = "Grüße, 世界, 🎉"


@pytest.fixture
def database(database_settings: Settings) -> Database:
    return Database.of(database_settings, name="tests", pool_size=1)


def test_names_and_strings_are_read_without_python(database: Database) -> None:
    called: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith("utf_8.py"):
            called.append(frame.f_code.co_name)

    with database.connect() as connection:
        cursor = connection.connection.cursor()
        sys.setprofile(note)
        try:
            cursor.execute(f'SELECT %(text)s::text AS "{TEXT}", 1 AS other', {"text": TEXT})
        finally:
            sys.setprofile(None)
        assert [column[0] for column in cursor.description or ()] == [TEXT, "other"]
        assert cursor.fetchall() == [(TEXT, 1)]
    database.close()
    assert called == []
