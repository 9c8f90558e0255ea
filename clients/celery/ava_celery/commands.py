"""`ava celery …`: check the tasks of a Celery application, and import its beat entries as schedules."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

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
@click.option("--strict", is_flag=True, help="Exit with 1 if a task is skipped, as a node with AVA_CELERY_STRICT does.")
def check(app: str, *, strict: bool) -> None:
    """List the tasks of APP, such as proj.celery:app: the worker of each, or why a node skips it, and the fix.

    AVA_CELERY_ONLY and AVA_CELERY_SKIP select tasks, as on a node.

    \b
    ava celery check proj.celery:app --strict
    """
    checked = _load(app)
    for task in checked.tasks:
        for fault in checked.faults.get(task.name, ()):
            printing.print_plain(f"!!  {task.name}: {fault.reason}\n      fix: {fault.fix}")
        if task.name not in checked.faults:
            printing.print_plain(f"ok  {task.name}: {_described(checked, task)}")
    for name in checked.left_out:
        printing.print_plain(f"--  {name}: left out by AVA_CELERY_ONLY or AVA_CELERY_SKIP")
    if not checked.tasks:
        printing.print_plain(f"!!  {app}: no task is selected; name their modules in its include=")
    if not checked.workers or (strict and checked.faults):
        sys.exit(1)


def _described(checked: CheckedApp, task: Any) -> str:
    """Return a task's worker and its options in words."""
    from ava_celery import workers

    spec = workers.spec_of(checked.app, task)
    rate = "" if spec.limits.rate is None else f", {spec.limits.rate} in the whole system"
    lost = "runs again" if spec.on_worker_lost == "requeue" else "fails"
    return (
        f"{spec.id}, queue {spec.queue}, at most {spec.timeout_seconds:g} s, "
        f"{spec.max_retries} retries{rate}, {lost} if its process is lost"
    )


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
            printing.print_plain(f"ok  {entry.name}: {done} {entry.worker_id}, {entry.timing}")
        else:
            printing.print_plain(f"!!  {entry.name}: {fault}")
            faults += 1
    if not found:
        printing.print_plain(f"{app} has no beat entries.")
    if faults:
        sys.exit(1)


def _load(app: str) -> CheckedApp:
    from ava.local import handler_folder
    from ava.setting_values import names
    from ava_celery import apps, load

    handler_folder.search(handler_folder.folders(), [apps.module_of(app)])
    only, skip = names(os.environ, "AVA_CELERY_ONLY"), names(os.environ, "AVA_CELERY_SKIP")
    return load.check(app, load.Selection(only=only, skip=skip))


def _put(client: Client, entry: BeatEntry, known: Schedule | None, *, dry_run: bool) -> str:
    """Create or change the schedule of an entry. Returns the action, such as `created` or `would create`."""
    input = dict(entry.input or {})
    timing = {name: getattr(entry, name) for name in ("cron", "timezone", "every_seconds")}
    given = {name: value for name, value in timing.items() if value is not None}
    wanted = (*timing.values(), input, entry.expires_in_seconds)
    if dry_run:
        # The API refuses an invalid pattern or time zone here too.
        client.schedules.preview(**given, count=1)
    if known is None:
        if not dry_run:
            client.schedules.create(
                entry.worker_id, **given, name=entry.name, input=input, expires_in_seconds=entry.expires_in_seconds
            )
        return "would create" if dry_run else "created"
    if wanted == (known.cron, known.timezone, known.every_seconds, known.input, known.expires_in_seconds):
        return "unchanged"
    if not dry_run:
        client.schedules.update(known.id, **given, input=input, expires_in_seconds=entry.expires_in_seconds)
    return "would change" if dry_run else "changed"
