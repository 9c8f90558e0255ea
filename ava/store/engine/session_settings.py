"""Session settings, applied as connection options or as defaults of the role.

A pooler that may use another session for each transaction (PgBouncer's transaction mode) refuses connection options,
and a SET would stay in a session that other clients use next. Then the role's defaults apply.
"""

from __future__ import annotations

import codecs

from psycopg2 import extensions
from sqlalchemy import Connection

from ava.store.engine.statement import Statement

#: Generic plans are best for all our prepared statements, so each is planned only once.
_SESSION = {
    "timezone": "UTC",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    # PostgreSQL's defaults, in case an operator has changed them. With other values, statements and values have another
    # meaning or are refused.
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "IntervalStyle": "postgres",
    "array_nulls": "on",
    "transform_null_equals": "off",
}
#: Statement timeout in seconds behind a pooler, where all processes share the role's default.
_STATEMENT_SECONDS = 30
#: The codec's name, and PostgreSQL's name of the encoding.
_CODEC, _ENCODING = "ava_utf_8", "UTF8"


_SET_DEFAULTS = Statement("""
DO $$ BEGIN
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET timezone = ''UTC''', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET jit = off', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET plan_cache_mode = force_generic_plan',
                   current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET default_transaction_isolation = ''read committed''',
                   current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET standard_conforming_strings = on',
                   current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET client_encoding = "UTF8"', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET IntervalStyle = postgres', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET array_nulls = on', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET transform_null_equals = off', current_user, current_database());
    EXECUTE format('ALTER ROLE %%I IN DATABASE %%I SET statement_timeout = ''30s''', current_user, current_database());
END $$
""")
_CURRENT = Statement("SELECT lower(name) AS name, setting FROM pg_settings")


def options(statement_seconds: float) -> str:
    """Return the libpq option that sets the session of a direct connection."""
    session = {"statement_timeout": round(statement_seconds * 1000), **_SESSION}
    # A space inside a value is escaped (PostgreSQL manual, Connection Strings, `options`).
    return " ".join(f"-c {name}=" + str(value).replace(" ", "\\ ") for name, value in session.items())


def set_role_defaults(connection: Connection) -> None:
    """Make these settings the defaults of the connection's role in this database. Needs no extra privilege."""
    connection.exec_driver_sql(_SET_DEFAULTS, {})
    connection.commit()


def find_wrong(connection: Connection) -> list[str]:
    """Return the names of settings that have other values in this session, for use behind a pooler."""
    wanted = {"statement_timeout": str(_STATEMENT_SECONDS * 1000), **_SESSION}
    current = {row.name: row.setting for row in connection.exec_driver_sql(_CURRENT)}
    return sorted(name for name, value in wanted.items() if current.get(name.lower()) != value)


def install_text_codec() -> None:
    """Make new connections decode with the C function that Python's codec calls."""
    if extensions.encodings[_ENCODING] != _CODEC:
        codecs.register(_find_codec)
        extensions.encodings[_ENCODING] = _CODEC


def _find_codec(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(codecs.utf_8_encode, codecs.utf_8_decode, name=_CODEC) if name == _CODEC else None
