"""`ava workers …`: the operator's commands about workers, which call the public API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import WORKER_ID
from ava.cli.options.connection import connected
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


@click.group()
def workers() -> None:
    """List, create and delete workers, change their settings, pause and resume them."""


@workers.command("list")
@click.option("--status", type=click.Choice(["active", "paused", "deprecated"]), help="Only workers with this status.")
@click.option("--live/--not-live", default=None, help="Only workers that are served by a live node, or by none.")
@click.option("--search", "q", help="Only workers with this string in their name or id.")
@output_options
@connected
def list_workers(client: Client, printer: RecordPrinter, **filters: Any) -> None:
    """List workers."""
    printer.records(
        client.workers.list(**filters),
        _COLUMNS,
        empty="No workers match. A worker appears when a node that has its handler starts.",
    )


@workers.command()
@click.argument("worker_id", type=WORKER_ID)
@output_options
@connected
def show(client: Client, worker_id: str, printer: RecordPrinter) -> None:
    """Show a worker with its settings and the schema of its input."""
    printer.record(client.workers.get(worker_id))


@workers.command()
@click.argument("slug")
@click.option("--name", help="Display name.  [default: the slug]")
@click.option("--timeout", type=float, help="Timeout of a run in seconds.  [default: 300]")
@click.option("--retries", type=click.IntRange(0, 25), help="Retries after the first attempt.  [default: 0]")
@click.option("--max-running", type=click.IntRange(0), help="Max concurrent jobs.  [default: unlimited]")
@click.option("--rate", help="Rate limit of starting jobs, such as 100/minute.")
@click.option("--schema", type=click.File(), help="A file with the JSON Schema of the input.")
@click.option("--platform", is_flag=True, help="For all tenants (requires platform-admin or above).")
@output_options
@connected
def create(client: Client, slug: str, printer: RecordPrinter, *, platform: bool, **options: Any) -> None:
    """Create a pull worker, which claims its runs over HTTP: docs/how-to/clients.md.

    Its id is wkr_ followed by SLUG. `ava keys create --worker` creates the key with which it claims runs.
    """
    fields = {
        "name": options["name"],
        "timeout_seconds": options["timeout"],
        "retry": None if options["retries"] is None else {"max": options["retries"]},
        "max_running": options["max_running"],
        "rate": options["rate"],
        "input_schema": None if options["schema"] is None else _read_schema(options["schema"]),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    printer.record(client.workers.create(slug, **given, **_scope(is_of_platform=platform)))


def _read_schema(file: IO[str]) -> Any:
    try:
        return json.load(file)
    except ValueError as problem:
        raise click.BadParameter(f"it is not JSON: {problem}.", param_hint="--schema") from None


@workers.command()
@click.argument("worker_ids", type=WORKER_ID, nargs=-1, required=True)
@click.option("--platform", is_flag=True, help="Delete platform workers (requires platform-admin or above).")
@connected
def delete(client: Client, worker_ids: tuple[str, ...], *, platform: bool) -> None:
    """Delete pull workers, once they have no waiting or running jobs."""
    for worker_id in worker_ids:
        client.workers.delete(worker_id, **_scope(is_of_platform=platform))


@workers.command("set")
@click.argument("worker_id", type=WORKER_ID)
@click.option("--config", "config", multiple=True, metavar="KEY=VALUE", help="Set the value that env[KEY] returns.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME[=@FILE]", help="Set a secret; prompts for its value.")
@click.option("--unset", multiple=True, metavar="KEY", help="Delete an entry of the configuration.")
@click.option("--unset-secret", multiple=True, metavar="NAME", help="Delete a secret.")
@click.option("--timeout", type=float, help="Timeout of a run in seconds; 0: as declared by the handler.")
@click.option("--retries", type=click.IntRange(-1, 25), help="Max retries; -1: as declared by the handler.")
@click.option("--retry-delays", metavar="5,60", help="With --retries: seconds before each; the last one repeats.")
@click.option("--max-running", type=click.IntRange(-1), help="Max concurrent jobs, with --platform; -1: as declared.")
@click.option("--rate", help="Rate limit, such as 100/minute, with --platform; '': as declared.")
@click.option("--deprecate", is_flag=True, help="Refuse new jobs; waiting jobs still run.")
@click.option("--platform", is_flag=True, help="For all tenants (requires platform-admin or above).")
@output_options
@connected
def set_(client: Client, worker_id: str, printer: RecordPrinter, *, platform: bool, **options: Any) -> None:
    """Change the tenant's settings of a worker: configuration, secrets, timeout, retries.

    The concurrency and rate limits of a worker apply to all tenants.
    """
    delays = options.pop("retry_delays")
    changes = _changes(**options)
    if delays is not None:
        changes |= _retry(changes.pop("max_retries", None), delays)
    if not changes:
        raise click.UsageError("Nothing to change: give at least one setting; see --help.")
    printer.record(client.workers.update(worker_id, **changes, **_scope(is_of_platform=platform)))


@workers.command()
@click.argument("worker_ids", type=WORKER_ID, nargs=-1, required=True)
@click.option("--platform", is_flag=True, help="For all tenants (requires platform-admin or above).")
@output_options
@connected
def pause(client: Client, worker_ids: tuple[str, ...], printer: RecordPrinter, *, platform: bool) -> None:
    """Pause workers: their jobs are still accepted, but wait."""
    for worker_id in worker_ids:
        printer.record(client.workers.update(worker_id, status="paused", **_scope(is_of_platform=platform)))


@workers.command()
@click.argument("worker_ids", type=WORKER_ID, nargs=-1, required=True)
@click.option("--platform", is_flag=True, help="For all tenants (requires platform-admin or above).")
@output_options
@connected
def resume(client: Client, worker_ids: tuple[str, ...], printer: RecordPrinter, *, platform: bool) -> None:
    """Resume workers: their waiting jobs start."""
    for worker_id in worker_ids:
        printer.record(client.workers.update(worker_id, status=None, **_scope(is_of_platform=platform)))


def _scope(*, is_of_platform: bool) -> dict[str, Any]:
    return {"scope": "platform"} if is_of_platform else {}


def _changes(
    *,
    config: tuple[str, ...],
    secrets: tuple[str, ...],
    unset: tuple[str, ...],
    unset_secret: tuple[str, ...],
    timeout: float | None,
    retries: int | None,
    max_running: int | None,
    rate: str | None,
    deprecate: bool,
) -> dict[str, Any]:
    """Return the settings that the options contain, in the API's form."""
    changes: dict[str, Any] = {}
    if entries := {**dict(map(_entry, config)), **dict.fromkeys(unset)}:
        changes["config"] = entries
    if sealed := {**dict(map(_secret, secrets)), **dict.fromkeys(unset_secret)}:
        changes["secrets"] = sealed
    if timeout is not None:
        changes["timeout_seconds"] = timeout or None
    if retries is not None:
        changes["max_retries"] = None if retries < 0 else retries
    if max_running is not None:
        changes["max_running"] = None if max_running < 0 else max_running
    if rate is not None:
        changes["rate"] = rate or None
    if deprecate:
        changes["status"] = "deprecated"
    return changes


def _retry(retries: int | None, delays: str) -> dict[str, Any]:
    if retries is None:
        raise click.UsageError("--retry-delays needs --retries.")
    try:
        return {"retry": {"max": retries, "delays": [float(each) for each in delays.split(",")]}}
    except ValueError:
        raise click.BadParameter("give seconds, such as 5,60,600.", param_hint="--retry-delays") from None


def _entry(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter("give KEY=VALUE, such as region=eu.", param_hint="--config")
    return key, value


def _secret(text: str) -> tuple[str, str]:
    """Return a secret's name and value. The value is never an argument, which other users could see."""
    name, equals, source = text.partition("=")
    if not equals:
        return name, str(click.prompt(name, hide_input=True, err=True))
    if not source.startswith("@"):
        raise click.BadParameter(
            "give NAME (the command prompts for its value) or NAME=@FILE.",
            param_hint="--secret",
        )
    try:
        return name, Path(source[1:]).read_text().strip()
    except OSError as problem:
        raise click.BadParameter(f"{source[1:]} cannot be read: {problem.strerror}.", param_hint="--secret") from None
