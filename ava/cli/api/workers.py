"""`ava workers …`: the operator's commands about workers, which call the public API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import JSON_OBJECT, approval_option
from ava.cli.options.resources import Resource, changed_fields, unset_option
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="ID", value=lambda worker: worker.id, min_width=16),
    Column(title="NAME", value=lambda worker: worker.name, min_width=12),
    Column(title="STATUS", value=lambda worker: worker.status),
    Column(title="LIVE", value=lambda worker: worker.live),
    Column(title="QUEUE", value=lambda worker: worker.queue, min_width=8),
    Column(title="TIMEOUT", value=lambda worker: f"{worker.timeout_seconds:g} s"),
    Column(title="RETRIES", value=lambda worker: worker.max_retries, is_wide=True),
    Column(title="UPDATED", value=lambda worker: worker.updated_at, is_wide=True),
)


_workers = Resource(
    name="workers",
    help="List, create and delete workers, change their settings, pause and resume them.",
    noun="worker",
    example="wkr_report",
    id_type=WORKER_ID,
    columns=_COLUMNS,
)
_platform = click.option(
    "--platform", "scope", flag_value="platform", help="For all tenants (requires platform-admin or above)."
)


def _scope(scope: str | None) -> dict[str, Any]:
    return {} if scope is None else {"scope": scope}


_workers.add_show("Show a worker with its settings and the schema of its input.")
_workers.add_delete("Delete pull workers, once they have no waiting or running jobs.", _platform)
_workers.add_pauses(
    _platform,
    pause="Pause workers: their jobs are still accepted, but wait.",
    resume="Resume workers: their waiting jobs start.",
)
workers = _workers.group


@workers.command("list")
@click.option("--status", type=click.Choice(["active", "paused", "deprecated"]), help="Only workers with this status.")
@click.option("--live/--not-live", default=None, help="Only workers that are served by a live node, or by none.")
@click.option("--search", "q", help="Only workers with this string in their name or id.")
@output_options
@connected
def list_workers(client: Client, printer: RecordPrinter, **filters: Any) -> None:
    """List workers.

    \b
    ava workers list --live
    """
    printer.records(
        client.workers.list(**filters),
        _COLUMNS,
        empty="No workers match. A worker appears when a node that has its handler starts.",
    )


@workers.command()
@click.argument("slug")
@click.option("--name", help="Display name.  [default: the slug]")
@click.option("--timeout-seconds", type=float, help="Timeout of a run.  [default: 300]")
@click.option("--max-retries", type=click.IntRange(0, 25), help="Retries after the first attempt.  [default: 0]")
@click.option("--max-running", type=click.IntRange(0), help="Max concurrent jobs.  [default: unlimited]")
@click.option("--rate", help="Rate limit of starting jobs, such as 100/minute.")
@click.option("--input-schema", type=JSON_OBJECT, help="The JSON Schema of the input: JSON, @FILE, or - (stdin).")
@_platform
@output_options
@connected
def create(
    client: Client, slug: str, printer: RecordPrinter, scope: str | None, max_retries: int | None, **options: Any
) -> None:
    """Create a pull worker, which claims its runs over HTTP: docs/how-to/clients.md.

    Its id is wkr_ followed by SLUG. `ava keys create --worker` creates the key with which it claims runs.

    \b
    ava workers create resize --timeout-seconds 60 --max-retries 2
    """
    given = {name: value for name, value in options.items() if value is not None}
    if max_retries is not None:
        given["retry"] = {"max": max_retries}
    printer.record(client.workers.create(slug, **given, **_scope(scope)))


@workers.command()
@click.argument("worker_id", type=WORKER_ID)
@click.option("--config", "config", multiple=True, metavar="KEY=VALUE", help="Set the value that env[KEY] returns.")
@click.option("--unset-config", multiple=True, metavar="KEY", help="Delete an entry of the configuration.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME[=@FILE]", help="Set a secret; prompts for its value.")
@click.option("--unset-secret", multiple=True, metavar="NAME", help="Delete a secret.")
@click.option("--timeout-seconds", type=float, help="Timeout of a run, at most the handler's.")
@click.option("--max-retries", type=click.IntRange(0, 25), help="Max retries, at most the handler's.")
@click.option(
    "--retry-delays-seconds", metavar="5,60", help="With --max-retries: delay before each; the last one repeats."
)
@click.option("--max-running", type=click.IntRange(0), help="Max concurrent jobs, with --platform.")
@click.option("--rate", help="Rate limit, such as 100/minute, with --platform.")
@click.option(
    "--status",
    type=click.Choice(["active", "paused", "deprecated"]),
    help="Of a deprecated worker, new jobs are refused and waiting jobs still run.",
)
@approval_option
@unset_option("timeout-seconds", "max-retries", "retry-delays-seconds", "max-running", "rate", "status", "approval")
@_platform
@output_options
@connected
def update(client: Client, worker_id: str, printer: RecordPrinter, scope: str | None, **given: Any) -> None:
    """Change the tenant's settings of a worker. A cleared setting is as the handler declares it.

    The concurrency and rate limits of a worker apply to all tenants. Clearing the retry delays also clears the max
    retries, unless --max-retries is given.

    \b
    ava workers update wkr_report --config REGION=eu --unset timeout-seconds
    """
    maps = {
        "config": {**dict(map(_entry, given.pop("config"))), **dict.fromkeys(given.pop("unset_config"))},
        "secrets": {**dict(map(_secret, given.pop("secrets"))), **dict.fromkeys(given.pop("unset_secret"))},
    }
    changes = changed_fields(given | {name: entries or None for name, entries in maps.items()})
    if "retry_delays_seconds" in changes:
        delays = changes.pop("retry_delays_seconds")
        changes["retry"] = None if delays is None else _retry(changes.pop("max_retries", None), delays)
    printer.record(client.workers.update(worker_id, **changes, **_scope(scope)))


def _retry(max_retries: int | None, delays: str) -> dict[str, Any]:
    if max_retries is None:
        raise click.UsageError("--retry-delays-seconds needs --max-retries.")
    try:
        return {"max": max_retries, "delays_seconds": [float(each) for each in delays.split(",")]}
    except ValueError:
        raise click.BadParameter("give seconds, such as 5,60,600.", param_hint="--retry-delays-seconds") from None


def _entry(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise click.BadParameter("give KEY=VALUE, such as region=eu.", param_hint="--config")
    return key, value


def _secret(pair: str) -> tuple[str, str]:
    """Return a secret's name and value. The value is never an argument, which other users could see."""
    name, equals, source = pair.partition("=")
    if not equals:
        return name, str(click.prompt(name, hide_input=True, err=True))
    if not source.startswith("@"):
        raise click.BadParameter("give NAME (the command prompts for its value) or NAME=@FILE.", param_hint="--secret")
    try:
        return name, Path(source[1:]).read_text().strip()
    except OSError as problem:
        raise click.BadParameter(f"{source[1:]} cannot be read: {problem.strerror}.", param_hint="--secret") from None
