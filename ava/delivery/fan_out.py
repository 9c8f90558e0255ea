"""Fanning out: of each new event the body is made, once, and a delivery for every endpoint that is to hear of it."""

from __future__ import annotations

import logging

from ava.domain.events import make_body
from ava.domain.record import make_record
from ava.store.engine.database import Database
from ava.store.webhooks import events
from ava.store.webhooks.events import NewEvent

__all__ = ["FanOut"]

_log = logging.getLogger(__name__)

#: Events in one transaction. Whatever their payloads, `ava.store.webhooks.events` bounds their bytes.
BATCH = 200


class FanOut:
    """Fans events out, in the order in which they happened; of several processes one at a time does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self) -> int:
        """Fan one batch out; how many events. Raises `DatabaseUnavailable`, and then nothing was done."""
        with self._database.transaction() as connection:
            new = events.claim_new(connection, limit=BATCH)
            if new:
                events.fan_out(connection, [(each, _body(each)) for each in new])
        return len(new)


def _body(new: NewEvent) -> str | None:
    if new.job is None:
        _log.warning("Event %s is dropped, for its job is past retention.", new.event.id)
        return None
    try:
        return make_body(new.event, make_record(new.job))
    except Exception:
        # One record that cannot be written must not hold up all others for ever.
        _log.exception("Event %s is dropped, for its body cannot be made.", new.event.id)
        return None
