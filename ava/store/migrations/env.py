"""Alembic's entry point: the caller (`ava.store.schema`) passes the connection, so nothing is read from a file."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
