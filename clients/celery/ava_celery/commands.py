"""`ava celery …`: check the tasks of a Celery application, and import its beat entries as schedules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing

if TYPE_CHECKING:
    from ava.client import Client, Schedule
    from ava_celery.beat import BeatEntry
    from ava_celery.load import CheckedApp


@click.group()
def celery() -> None:
    """Offer the tasks of a Celery application as workers."""


@celery.command()
@click.argument("app")
def check(app: str) -> None:
    """List the tasks of APP, such as proj.celery:app: the worker that each becomes, or why it cannot.

    The exit code is 1 if a task would behave differently than with plain Celery.

    \b
    ava celery check proj.celery:app
    """
    from ava_celery import workers

    checked = _load(app)
    for line in checked.faults.get(app, ()):
        printing.print_plain(f"!!  {app}: {line}")
    for task in checked.tasks:
        if reasons := checked.faults.get(task.name):
            for reason in reasons:
                printing.print_plain(f"!!  {task.name}: {reason}")
            continue
        spec = workers.spec_of(checked.app, task)
        lost = "runs again" if spec.on_worker_lost == "requeue" else "fails"
        printing.print_plain(
            f"ok  {task.name}: {spec.id}, queue {spec.queue}, at most {spec.timeout_seconds:g} s, "
            f"{spec.max_retries} retries, {lost} if its process is lost"
        )
    if not checked.tasks:
        printing.print_plain(f"!!  {app}: it has no task; name their modules in its include=")
    if checked.faults or not checked.tasks:
        sys.exit(1)


@celery.command("import-schedules")
@click.argument("app")
@click.option("--dry-run", is_flag=True, help="Print the changes without making them.")
@connected
def import_schedules(client: Client, app: str, *, dry_run: bool) -> None:
    """Create a schedule for each beat entry of APP, such as proj.celery:app.

    A schedule of the same name and worker is changed, so the command can be repeated. An entry that cannot be a
    schedule, or that the API refuses, is named, and the exit code is 1.

    \b
    ava celery import-schedules proj.celery:app --dry-run
    """
    from ava.client import ApiConflict, ApiForbidden, ApiNotFound, ApiRefused
    from ava_celery import beat

    checked = _load(app)
    found = list(beat.entries(checked.app))
    known = {(schedule.worker_id, schedule.name): schedule for schedule in client.schedules.list()}
    faults = 0
    for entry in found:
        fault, done = entry.fault, ""
        if fault is None:
            try:
                done = _put(client, entry, known.get((entry.worker_id, entry.name)), dry_run=dry_run)
            except (ApiConflict, ApiForbidden, ApiNotFound, ApiRefused) as error:
                fault = str(error)
        if fault is None:
            printing.print_plain(f"ok  {entry.name}: {done} {entry.worker_id}, {entry.cron} {entry.timezone}")
        else:
            printing.print_plain(f"!!  {entry.name}: {fault}")
            faults += 1
    if not found:
        printing.print_plain(f"{app} has no beat entries.")
    if faults:
        sys.exit(1)


def _load(app: str) -> CheckedApp:
    from ava.local import handler_folder
    from ava_celery import apps, load

    handler_folder.search(handler_folder.folders(), [apps.module_of(app)])
    return load.check(app)


def _put(client: Client, entry: BeatEntry, known: Schedule | None, *, dry_run: bool) -> str:
    """Create or change the schedule of an entry. Returns the action, such as `created` or `would create`."""
    input = dict(entry.input or {})
    wanted = (entry.cron, entry.timezone, input, entry.expires_in_seconds)
    if dry_run:
        # The API refuses an invalid pattern or time zone here too.
        client.schedules.preview(entry.cron, entry.timezone, 1)
    if known is None:
        if not dry_run:
            client.schedules.create(
                entry.worker_id,
                entry.cron,
                entry.timezone,
                name=entry.name,
                input=input,
                expires_in_seconds=entry.expires_in_seconds,
            )
        return "would create" if dry_run else "created"
    if wanted == (known.cron, known.timezone, known.input, known.expires_in_seconds):
        return "unchanged"
    if not dry_run:
        client.schedules.update(
            known.id, cron=entry.cron, timezone=entry.timezone, input=input, expires_in_seconds=entry.expires_in_seconds
        )
    return "would change" if dry_run else "changed"
