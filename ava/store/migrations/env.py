"""Alembic's entry point. `ava.store.engine.schema` passes the connection; no configuration file is read."""

from typing import Any

from alembic import context

from ava.store.migrations import compatibility

target: dict[str, Any] = {"connection": context.config.attributes["connection"]}
if context.is_offline_mode():
    target = {"dialect_name": "postgresql", "dialect_opts": {"paramstyle": "named"}, "literal_binds": True}
context.configure(
    **target,
    target_metadata=None,
    transactional_ddl=True,
    transaction_per_migration=True,
    on_version_apply=compatibility.write,  # type: ignore[arg-type]  # Alembic calls it with keywords.
)
with context.begin_transaction():
    context.run_migrations()
