"""The settings of a session, and how they reach PostgreSQL: with the connection, or as defaults of the role.

A pooler that gives each transaction another session (PgBouncer's transaction mode) refuses options of a connection, and
a SET would last in a session that belongs to other clients next. There the role's defaults hold.
"""

from __future__ import annotations

from sqlalchemy import Connection

from ava.store.engine.statement import Statement

#: A generic plan is the best for all our prepared statements, so each is planned once only.
_SESSION = {
    "timezone": "UTC",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    # As PostgreSQL's own default; an operator may have set another.
    "default_transaction_isolation": "read committed",
    # These as well. With other values statements and values mean something else, or are refused.
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "IntervalStyle": "postgres",
    "array_nulls": "on",
    "transform_null_equals": "off",
}
#: The most seconds of a statement behind a pooler, where all processes share the role's default.
_STATEMENT_SECONDS = 30

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
    """Returns the start-up option of libpq with which a direct connection sets its session."""
    session = {"statement_timeout": round(statement_seconds * 1000), **_SESSION}
    # A space inside a value is escaped (PostgreSQL manual, Connection Strings, `options`).
    return " ".join(f"-c {name}=" + str(value).replace(" ", "\\ ") for name, value in session.items())


def set_role_defaults(connection: Connection) -> None:
    """Make these settings the defaults of the connection's role in this database. Each role may do that for itself."""
    connection.exec_driver_sql(_SET_DEFAULTS, {})
    connection.commit()


def find_wrong(connection: Connection) -> list[str]:
    """Returns the names of the settings that a session, as behind a pooler, does not have."""
    wanted = {"statement_timeout": str(_STATEMENT_SECONDS * 1000), **_SESSION}
    current = {row.name: row.setting for row in connection.exec_driver_sql(_CURRENT)}
    return sorted(name for name, value in wanted.items() if current.get(name.lower()) != value)
