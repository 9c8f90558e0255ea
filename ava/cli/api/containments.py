"""`ava containments create|proof|verify`: scopes of options, and proofs. `ava contain` is `create`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from ava.cli.api.factory import GROUPS
from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.errors import CallFailed

if TYPE_CHECKING:
    from ava.client import Client

#: Max characters of a proof or of keys, and one more.
_MAX_READ = 2**20 + 1
#: The options of a scope.
_PARTS = ("tenant_wide", "all_tenants", "key_id", "user_id", "worker_id", "tag", "tree_id", "hook_id", "source")
containments = GROUPS["containments"]


@containments.command()
@click.option("--tenant-wide", is_flag=True, help="All jobs of the tenant.")
@click.option("--all-tenants", is_flag=True, help="The jobs of all tenants; requires --role platform-admin.")
@click.option("--worker", "worker_id", help="Only jobs of this worker.")
@click.option("--by-key", "key_id", help="Only jobs of this API key and of all keys that it has created.")
@click.option("--by-user", "user_id", help="Only jobs of this user and of all keys of his.")
@click.option("--tag", metavar="KEY=VALUE", help="Only jobs with this tag.")
@click.option("--tree", "tree_id", help="Only the jobs of this tree.")
@click.option("--hook", "hook_id", help="Only jobs of this hook's deliveries, and their children.")
@click.option("--source", help="Only jobs of events with this source, and their children.")
@click.option("--reason", required=True, help="Why the jobs are contained.")
@click.option("--let-end", is_flag=True, help="Let running jobs end; without it they are asked to stop.")
@click.option("--hold", is_flag=True, help="Hold the jobs of new triggers; without it triggers are refused.")
@click.option("--ends-in-seconds", type=click.IntRange(1), help="Seconds until it ends by itself.")
@click.option("--dry-run", is_flag=True, help="Show the jobs to hold and to stop, and contain nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is complete; exit 1 if it is lifted before.")
@output_options
@connected
def create(client: Client, printer: RecordPrinter, dry_run: bool, wait: bool, **given: Any) -> None:
    """Contain the jobs that match all given parts of a scope.

    \b
    ava containments create --worker wkr_import --reason "it deletes invoices" --wait
    """
    scope = _scope(**{name: given.pop(name) for name in _PARTS})
    if dry_run:
        printer.record(client.containments.rehearse(scope))
        return
    found = client.containments.create(
        scope,
        reason=given["reason"],
        running="let_end" if given["let_end"] else "cancel",
        triggers="hold" if given["hold"] else "refuse",
        ends_in_seconds=given["ends_in_seconds"],
    )
    if wait:
        found = client.containments.wait(found.id)
    printer.record(found)
    sys.exit(1 if wait and found.complete_at is None else 0)


@containments.command()
@click.argument("containment_id")
@click.option(
    "--of", type=click.Choice(["complete", "lifted"]), default="complete", show_default=True, help="Which one."
)
@connected
def proof(client: Client, containment_id: str, of: str) -> None:
    """Print the signed record (JWS) of the time when a containment became complete, or was lifted.

    \b
    ava containments proof con_01… > con_01.jws
    """
    found = getattr(client.containments.proofs(containment_id), of)
    if found is None:
        raise CallFailed(f"There is no proof that it is {of}; --of chooses the other one.")
    printing.print_plain(found)


@containments.command()
@click.argument("file", type=click.File("r", encoding="latin-1"))
@click.option(
    "--keys",
    type=click.File("r", encoding="latin-1"),
    help="The public keys: a JWKS or one JWK. Without it the installation's /.well-known/ava-signing-keys.",
)
def verify(file: TextIO, keys: TextIO | None) -> None:
    """Verify a proof, with --keys offline, and print its record; exit 1 if it is not valid.

    \b
    ava containments verify con_01.jws --keys keys.json
    """
    from ava.domain.secrets import signing

    try:
        # A proof is read up to one character beyond the limit, which refuses it.
        key_set = _published_keys() if keys is None else signing.read_keys(keys.read(_MAX_READ))
        record, kid = signing.verify(file.read(_MAX_READ), key_set)
    except signing.InvalidProof as error:
        raise CallFailed(f"NOT VALID: {error}") from error
    printing.print_plain(f"Valid: signed by the key {kid}.", is_error=True)
    printing.print_json(record)


@connected
def _published_keys(client: Client) -> Any:
    return client.containments.signing_keys()


contain = click.Command(
    "contain",
    callback=create.callback,
    params=create.params,
    help=(create.help or "").replace("ava containments create", "ava contain"),
)


def _scope(*, tenant_wide: bool, all_tenants: bool, tag: str | None, **ids: str | None) -> dict[str, Any]:
    parts: dict[str, Any] = dict(ids)
    if tag is not None:
        key, mark, value = tag.partition("=")
        if not mark:
            raise click.UsageError("--tag must have the form KEY=VALUE.")
        parts["tag"] = {"key": key, "value": value}
    parts |= {"tenant": tenant_wide or None, "all": all_tenants or None}
    scope = {name: value for name, value in parts.items() if value is not None}
    if not scope:
        raise click.UsageError(
            "Give a scope: --tenant-wide, --by-key, --by-user, --worker, --tag, --tree, --hook, --source or "
            "--all-tenants."
        )
    return scope
