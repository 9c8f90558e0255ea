"""`ava operations show --follow`: the progress of bulk retries and cancels."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import Send, command
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter
from ava.cli.screen.terminal import StatusLine
from ava.cli.screen.watching import INTERRUPTED

if TYPE_CHECKING:
    from ava.client import Client, Operation

#: Polling interval for a running operation, in seconds.
_POLL_SECONDS = 0.5


@command(
    "operations.get",
    click.option("--follow", is_flag=True, help="Show the progress until the operation has ended."),
)
def show(client: Client, send: Send, follow: bool, printer: RecordPrinter, **given: Any) -> None:
    found = send(**given)
    if follow:
        follow_operation(client, found, printer)
    else:
        printer.record(found)


def follow_operation(client: Client, operation: Operation, printer: RecordPrinter) -> None:
    """Show an operation's progress until it has ended, then its counts; exit 0 only if every job was processed.

    Ctrl-C does not stop the operation.
    """
    try:
        with StatusLine() as line:
            while operation.is_running:
                taken = operation.done + operation.failed
                line.set_progress(taken / max(1, operation.total), _progress_message(operation))
                time.sleep(_POLL_SECONDS)
                operation = client.operations.get(operation.id)
    except KeyboardInterrupt:
        printing.print_plain(f"The operation continues; `ava operations abort {operation.id}` stops it.", is_error=True)
        sys.exit(INTERRUPTED)
    if printer.is_for_people:
        printing.print_plain(_sentence(operation))
        if operation.reason:
            printing.print_plain(operation.reason, colour="yellow")
    else:
        printer.record(operation)
    sys.exit(0 if operation.state == "done" and not operation.failed else 1)


def _progress_message(operation: Operation) -> str:
    waits = f"; {operation.reason}" if operation.reason else ""
    return f"{operation.done + operation.failed:,} of {operation.total:,}{waits}"


def _sentence(operation: Operation) -> str:
    verb = "retried" if operation.kind == "retry" else "cancelled"
    done = operation.done
    parts = [f"{done:,} job{'' if done == 1 else 's'} {verb}"]
    if signalled := (operation.result or {}).get("signalled"):
        parts[0] = f"{done - signalled:,} cancelled, {signalled:,} running asked to stop"
    if operation.failed:
        parts.append(f"{operation.failed:,} not possible")
    if operation.state == "aborted":
        parts.append("aborted before the others")
    return f"{operation.id}: {'; '.join(parts)}."
