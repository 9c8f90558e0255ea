"""`ava webhooks`: the process that sends webhooks, and the rotation of the keys that encrypt their secrets."""

from __future__ import annotations

import click

__all__ = ["webhooks"]


@click.command()
@click.option("--reseal", is_flag=True, help="Encrypt every secret with the first AVA_ENCRYPTION_KEY, and exit.")
def webhooks(reseal: bool) -> None:
    """Send webhooks; any number of these processes may run."""
    from ava import settings as settings_module

    settings = settings_module.load()
    if reseal:
        from ava.domain.sealing import Sealer
        from ava.services.webhooks import reseal_all
        from ava.store.engine.database import Database

        database = Database(settings.database_url, name="reseal", pool_size=1)
        count = reseal_all(database, Sealer(settings.encryption_keys))
        database.close()
        click.echo(f"Sealed the secrets of {count} webhooks anew.")
        return
    from ava.delivery import process
    from ava.health.port import serving

    with serving(settings):
        process.run(settings)
