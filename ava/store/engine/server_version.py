"""Refuse servers that are not PostgreSQL, or older than the oldest tested version.

Servers that only speak PostgreSQL's protocol lack or change features that the store needs (advisory locks, SKIP LOCKED,
partitions, triggers, snapshots), and would fail in the middle of a migration or job.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Engine, event

from ava.errors import StartError
from ava.store.engine.statement import Statement

#: The oldest major version that the tests run on.
OLDEST = 15
#: Other servers, each by a substring of its `version()`. Services that run PostgreSQL's code count as PostgreSQL.
_OTHERS = {
    "CockroachDB": "CockroachDB",
    "-YB-": "YugabyteDB",
    "Greenplum": "Greenplum",
    "WarehousePG": "WarehousePG",
    "Cloudberry": "Apache Cloudberry",
    "Redshift": "Amazon Redshift",
    "openGauss": "openGauss",
    "CedarDB": "CedarDB",
    "RisingWave": "RisingWave",
    "QuestDB": "QuestDB",
}
_MAX_NAME_CHARS = 40
_POSTGRESQL = re.compile(r"PostgreSQL (\d+)[.\w]*")

_VERSION = Statement("SELECT version()")
_HAS_CITUS = Statement("SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'citus'")


def require(engine: Engine, setting: str) -> None:
    """Make each new connection of an engine raise `StartError` if its server is refused. `setting` names the URL."""

    def check(dbapi_connection: Any, _record: object) -> None:
        if refusal := _read_refusal(dbapi_connection):
            raise StartError(f"{setting}: {refusal}")

    # Before SQLAlchemy reads the version, which fails for other servers.
    event.listen(engine, "connect", check, insert=True)


def refusal_of(version: str) -> str | None:
    """Return why a server with this `version()` is refused, in a sentence; None if it is PostgreSQL."""
    found = _POSTGRESQL.match(version)
    other = next((name for mark, name in _OTHERS.items() if mark in version), None)
    if found is None or other:
        name = other or " ".join(version.split())[:_MAX_NAME_CHARS]
        return f"the server is {name}, on which AVA Jobs does not run; use PostgreSQL {OLDEST} or newer."
    if int(found[1]) < OLDEST:
        return f"the server is {found[0]}, which is too old; use PostgreSQL {OLDEST} or newer."
    return None


def _read_refusal(dbapi_connection: Any) -> str | None:
    with dbapi_connection.cursor() as cursor:
        cursor.execute(_VERSION)
        refusal = refusal_of(str(cursor.fetchone()[0]))
        if refusal is None:
            cursor.execute(_HAS_CITUS)
            if cursor.fetchone()[0]:
                refusal = (
                    "the database has the extension citus, which AVA Jobs does not support; use a database without it."
                )
    dbapi_connection.rollback()
    return refusal
