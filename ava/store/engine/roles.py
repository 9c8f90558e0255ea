"""The role of the processes: it reads and writes rows and owns nothing. The owner runs migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from ava.errors import StartError
from ava.store.engine.database import driver_url
from ava.store.engine.statement import Statement

if TYPE_CHECKING:
    from ava.settings import Settings

#: Parameters for the blocks below, which cannot have any.
_SET = Statement("""
SELECT current_user <> %(role)s AND set_config('ava.role', %(role)s, false) = %(role)s, EXISTS (
    SELECT FROM pg_roles WHERE rolname = %(role)s)
""")
_SET_PASSWORD = Statement("SELECT set_config('ava.password', %(password)s, false)")
_CREATE = Statement("""
DO $$ BEGIN
    EXECUTE format('CREATE ROLE %%I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %%L',
                   current_setting('ava.role'), current_setting('ava.password'));
END $$
""")
_GRANT = Statement("""
DO $$ DECLARE
    role text := current_setting('ava.role');
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %%I TO %%I', current_database(), role);
    EXECUTE format('GRANT USAGE ON SCHEMA %%I TO %%I', current_schema(), role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %%I TO %%I', current_schema(), role);
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %%I TO %%I', current_schema(), role);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %%I TO %%I', current_schema(), role);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON alembic_version, schema_compatibility FROM %%I', role);
END $$
""")


def grant_to_processes(connection: Connection, settings: Settings) -> None:
    """Grant the role of DATABASE_URL the privileges of the processes; create the role if it does not exist.

    Does nothing if the role is the owner. Raises `StartError` if the owner may not create it.
    """
    url = driver_url(settings.database_url)
    if url.username is None:
        return
    is_other, exists = connection.exec_driver_sql(_SET, {"role": url.username}).one()
    if not is_other:
        return
    if not exists:
        _create(connection, url.username, url.password or "")
    connection.exec_driver_sql(_GRANT, {})
    connection.commit()


def _create(connection: Connection, role: str, password: str) -> None:
    # Encrypt here, because PostgreSQL may log the command.
    raw: psycopg2.extensions.connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    sealed = extensions.encrypt_password(password, role, scope=raw, algorithm="scram-sha-256")
    connection.exec_driver_sql(_SET_PASSWORD, {"password": sealed})
    try:
        connection.exec_driver_sql(_CREATE, {})
    except ProgrammingError as error:
        raise StartError(
            f"DATABASE_OWNER_URL: the owner may not create the role {role!r} of DATABASE_URL; create it as a superuser "
            f"with CREATE ROLE {role} LOGIN PASSWORD '…', then run this again."
        ) from error
