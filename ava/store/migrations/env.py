"""Alembic's entry point. `ava.store.engine.schema` passes the connection; no configuration file is read."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
