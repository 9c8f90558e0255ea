"""`make schema`: write `ava/store/schema.sql` from a database that the migrations have created."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine

import ava.store
from ava import settings
from ava.store.engine import schema
from ava.store.engine.database import driver_url
from ava.store.engine.schema_text import schema_text
from harness.servers.postgres import running_postgres


def main() -> None:
    """Start a PostgreSQL server, migrate its database, and write the text of its schema."""
    with running_postgres() as server:
        # Migrations need no broker, but the settings need its URL.
        schema.upgrade(settings.load({"DATABASE_URL": server.url, "BROKER_URL": "redis://127.0.0.1:1/0"}))
        with create_engine(driver_url(server.url)).connect() as connection:
            (Path(ava.store.__file__).parent / "schema.sql").write_text(schema_text(connection))


if __name__ == "__main__":
    main()
