"""`ava db`: the database's schema."""

from __future__ import annotations

import click

__all__ = ["db"]


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Bring the database's schema up to date; safe when many do it at once."""
    from ava import settings as settings_module
    from ava.store.engine import schema

    schema.upgrade(settings_module.load())
    click.echo("The database is up to date.")
