"""The process that sends webhooks, and what an operator does for it by hand."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from ava.process.startup import without_collections

if TYPE_CHECKING:
    from ava.settings import Settings


def run_sender(*, reseal: bool, retry_set_aside: bool) -> None:
    """Send webhooks until a stop is requested; with one of the arguments do that instead."""
    from ava import settings as settings_module

    settings = settings_module.load(uses_broker=False)
    if reseal or retry_set_aside:
        if reseal:
            _reseal(settings)
        if retry_set_aside:
            _retry_set_aside(settings)
        return
    with without_collections():
        from ava.delivery import process
        from ava.health.port import serving
        from ava.process.concealment import conceal
        from ava.setting_values import SECRETS

    conceal(SECRETS)

    with serving(settings):
        process.run(settings)


def _reseal(settings: Settings) -> None:
    from ava.services.sealed_secrets import reseal_all
    from ava.store.engine.database import Database

    with closing(Database.of(settings, name="reseal", pool_size=1)) as database:
        count, of_workers = reseal_all(database, settings.encryption_keys)
    click.echo(f"Sealed the secrets of {count} webhooks and {of_workers} workers anew.")


def _retry_set_aside(settings: Settings) -> None:
    from ava.store.engine.database import Database
    from ava.store.webhooks import set_aside

    count = 0
    with closing(Database.of(settings, name="retry", pool_size=1)) as database, database.connect() as found:
        while returned := set_aside.retry(found):
            count += returned
    click.echo(f"Returned {count} event{'' if count == 1 else 's'} to the fan-out.")
