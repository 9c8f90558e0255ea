"""Duties that create the messages of notices whose window is due, and check backlogs for notices."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from ava.domain import ids
from ava.domain.notices.messages import make_message_body
from ava.domain.notices.notice import NoticeEvent, NoticeRule
from ava.domain.webhooks.webhook_events import Event
from ava.store.dead_letters import HalvedBatch
from ava.store.engine import clock
from ava.store.engine.database import Database
from ava.store.engine.failures import describe_failure
from ava.store.reports import queue_counts
from ava.store.webhooks import notice_windows
from ava.store.webhooks.notice_windows import DueWindow, NoticeMessage, WindowKey

_log = logging.getLogger(__name__)

_WINDOWS_PER_TRANSACTION = 500
_CALL_SECONDS = 2.0


class DueNotices:
    """Creates a delivery for each window with a due message, and deletes windows that have ended.

    One transaction creates the delivery and resets the count, so a crash neither repeats nor loses a message. A window
    whose message cannot be created is deleted, so that it stops no other; the next event opens a new one.
    """

    def __init__(self, database: Database, *, public_url: str) -> None:
        self._database = database
        self._public_url = public_url
        self._batch = HalvedBatch("Notices", _WINDOWS_PER_TRANSACTION)
        #: The windows of the last batch.
        self._found: Sequence[DueWindow] = ()

    def run_once(self, _now: float) -> int:
        """Create the due messages. Returns their number."""
        sent, until = 0, time.monotonic() + _CALL_SECONDS
        while time.monotonic() < until:
            limit = self._batch.size
            count = self._batch.run(partial(self._send, limit), set_aside=self._set_aside, failed=None)
            sent += count or 0
            if count is not None and len(self._found) < limit:
                break
        return sent

    def _send(self, limit: int) -> int:
        self._found = ()
        with self._database.transaction() as connection:
            self._found = found = notice_windows.lock_due(connection, limit=limit)
            now = clock.now(connection)
            messages = [_message(each, each.rule, now, self._public_url) for each in found if each.rule is not None]
            notice_windows.send(connection, messages)
            notice_windows.delete(connection, [each.key for each in found if each.rule is None])
            if len(found) < limit:
                notice_windows.delete_ended(connection, limit=_WINDOWS_PER_TRANSACTION)
        return len(messages)

    def _set_aside(self, error: Exception) -> None:
        if not self._found:
            raise error
        (bad,) = self._found
        with self._database.transaction() as connection:
            notice_windows.delete(connection, [bad.key])
        notice = ids.encode("ntc", bad.key.notice)
        _log.error("Notice %s: a message could not be created: %s", notice, describe_failure(error))


def _message(window: DueWindow, rule: NoticeRule, now: datetime, public_url: str) -> NoticeMessage:
    event = Event.new(rule.event, tenant_id=window.key.tenant_id, created_at=now)
    body = make_message_body(
        event,
        window.facts,
        notice_id=ids.encode("ntc", window.key.notice),
        notice=window.name or "",
        count=window.events,
        public_url=public_url,
    )
    return NoticeMessage(window=window, event=event, body=body)


def check_backlogs(database: Database) -> int:
    """Report queues in which a tenant's oldest startable job has waited longer than a rule allows.

    One statement per tenant with such rules. Returns the number of these rules.
    """
    with database.connect() as connection:
        found = notice_windows.backlog_rules(connection)
    of_tenant: dict[str, list[tuple[WindowKey, NoticeRule]]] = defaultdict(list)
    for each in found:
        for number, rule in enumerate(each.rules):
            if rule.event is NoticeEvent.BACKLOG:
                key = WindowKey(tenant_id=each.tenant_id, notice=each.notice, rule=number, subject="")
                of_tenant[each.tenant_id].append((key, rule))
    return sum(_check_tenant(database, tenant_id, rules) for tenant_id, rules in of_tenant.items())


def _check_tenant(database: Database, tenant_id: str, rules: list[tuple[WindowKey, NoticeRule]]) -> int:
    with database.transaction() as connection:
        queues = list({rule.queue for _, rule in rules if rule.queue is not None})
        oldest = queue_counts.oldest_seconds(connection, queues, tenant_id=tenant_id)
        late = {
            key: (1, {"queue": rule.queue, "oldest_seconds": int(oldest[rule.queue])})
            for key, rule in rules
            if rule.queue in oldest and oldest[rule.queue] >= (rule.older_than_seconds or 0)
        }
        notice_windows.count_events(connection, late, is_state=True)
    return len(late)
