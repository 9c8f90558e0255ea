"""`manage.py ava_outbox`: send the rows of the outbox."""

from __future__ import annotations

import signal
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections
from django.tasks import DEFAULT_TASK_BACKEND_ALIAS, task_backends

from ava.client.outbox import Relay
from ava_django.relay import DjangoOutboxTable

__all__ = ["Command"]


class Command(BaseCommand):
    """Sends rows until SIGTERM or Ctrl-C."""

    help = "Send the rows of the outbox to the API, each as one job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--backend", default=DEFAULT_TASK_BACKEND_ALIAS, help="The backend in TASKS.")
        parser.add_argument("--once", action="store_true", help="Send the rows that are due, and exit.")

    def handle(self, *_: Any, backend: str, once: bool, **__: Any) -> None:
        """Run the relay."""
        found = task_backends[backend]
        relay = Relay(found.client, DjangoOutboxTable(found.options.get("database", "default")))
        if once:
            sent = 0
            while count := relay.run_once(time.time()):
                sent += count
            close_old_connections()
            self.stdout.write(f"Looked at {sent} row{'' if sent == 1 else 's'}.")
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.request_stop())
        self.stdout.write("Sending the rows of the outbox.")
        relay.run()
