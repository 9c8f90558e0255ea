"""`ava keys …`: the operator's commands about API keys, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.arguments import ISO_FORM, TIMESTAMP, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.access.caller import Role

if TYPE_CHECKING:
    from datetime import datetime

    from ava.client import Client

_COLUMNS = (
    Column(title="ID", value=lambda key: key.id),
    Column(title="NAME", value=lambda key: key.name, min_width=8),
    Column(title="ROLE", value=lambda key: key.role, min_width=8),
    Column(title="PREFIX", value=lambda key: key.prefix, is_wide=True),
    Column(title="CREATED BY", value=lambda key: key.created_by, is_wide=True),
    Column(title="EXPIRES", value=lambda key: key.expires_at, is_optional=True),
    Column(title="LAST USED", value=lambda key: key.last_used_at),
)


_keys = Resource(name="keys", help="Create, list and delete API keys.", noun="key", example="key_01…", columns=_COLUMNS)
_keys.add_list("List the keys, newest first.", empty="No keys.")
_keys.add_delete("Delete keys. Every process refuses them within 2 seconds.")
keys = _keys.group


@keys.command()
@click.argument("name")
@click.option(
    "--key-role",
    type=click.Choice([role.header for role in Role]),
    help="The key's role, at most your own.  [default: tenant-system-admin; with --worker: worker]",
)
@click.option(
    "--worker",
    "workers",
    multiple=True,
    type=WORKER_ID,
    help="A pull worker: the key gets the role `worker` and may claim its runs; repeatable.",
)
@click.option(
    "--trigger",
    "triggers",
    multiple=True,
    metavar="WORKER",
    help="With --worker: these runs may create children of this worker, `*` for all; repeatable.",
)
@click.option("--platform", is_flag=True, help="With --worker: runs of all tenants (requires platform-admin or above).")
@click.option("--expires-at", type=TIMESTAMP, help=f"When the key expires: {ISO_FORM}.  [default: never]")
@click.option("--no-payloads", is_flag=True, help="Hide inputs, outputs and log lines from users of the key.")
@output_options
@connected
def create(
    client: Client,
    name: str,
    key_role: str | None,
    workers: tuple[str, ...],
    triggers: tuple[str, ...],
    expires_at: datetime | None,
    printer: RecordPrinter,
    *,
    platform: bool,
    no_payloads: bool,
) -> None:
    """Create a key called NAME and print it with its token, which cannot be shown again.

    Set the token as AVA_API_KEY for commands and programs.

    \b
    ava keys create deploy --expires-at 2027-01-31
    """
    role = key_role or (Role.WORKER if workers else Role.TENANT_SYSTEM_ADMIN).header
    scope = "platform" if platform else None
    made = client.keys.create(
        name,
        role,
        expires_at=expires_at,
        payloads=not no_payloads,
        workers=workers or None,
        triggers=triggers or None,
        scope=scope,
    )
    printer.record(made)
