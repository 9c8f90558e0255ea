"""`ava db`: the database's schema."""

from __future__ import annotations

import click

__all__ = ["db"]


@click.group()
def db() -> None:
    """Manage the database."""


@db.command()
def upgrade() -> None:
    """Migrate the database to this release's schema; it is safe to run it several times at once."""
    from ava import settings as settings_module
    from ava.store.engine import schema

    schema.upgrade(settings_module.load())
    click.echo("The database is up to date.")
