"""Fan-out: makes the body of each new event, once, and a delivery for every endpoint that subscribes to it."""

from __future__ import annotations

import logging

from ava.domain.events import make_body
from ava.domain.record import make_record
from ava.store.engine.database import Database
from ava.store.webhooks import events
from ava.store.webhooks.events import NewEvent

__all__ = ["FanOut"]

_log = logging.getLogger(__name__)

#: Events in one transaction. `ava.store.webhooks.events` bounds their bytes, whatever their payloads.
BATCH = 200


class FanOut:
    """Fans events out in the order in which they happened, in one process at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self) -> int:
        """Fan out one batch. Returns the number of events.

        Raises `DatabaseUnavailable`; then no event of the batch was fanned out.
        """
        with self._database.transaction() as connection:
            new = events.claim_new(connection, limit=BATCH)
            if new:
                events.fan_out(connection, [(each, _body(each)) for each in new])
        return len(new)


def _body(new: NewEvent) -> str | None:
    if new.job is None:
        _log.warning("Webhook event %s dropped: its job is past retention", new.event.id)
        return None
    try:
        return make_body(new.event, make_record(new.job))
    except Exception:
        # One record that cannot be written must not block all other events for ever.
        _log.exception("Webhook event %s dropped: its body could not be made", new.event.id)
        return None
