"""Use cases of notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.delivery import Delivery
from ava.domain.limits.table import NOTICES
from ava.domain.notices.messages import make_message_body
from ava.domain.notices.notice import TEST, Channel, Notice, NoticeRule, describe_addresses, read_addresses
from ava.domain.outbound import outbound_url
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook_events import Event
from ava.errors import InvalidFields, NoticeNotFound, NoticesFull, NoticeStateConflict, OutboundError
from ava.services import replays
from ava.settings import Settings
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.jobs import idempotency
from ava.store.webhooks import deliveries, endpoints, notices


class TenantNotices:
    """Use cases of notices."""

    def __init__(self, database: Database, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._rules = OutboundRules.of(settings)
        self._mail_domains = settings.mail_domains
        self._public_url = settings.public_url

    def create(
        self,
        caller: Caller,
        *,
        name: str,
        channel: Channel,
        target: str,
        rules: Sequence[NoticeRule],
        paused: bool = False,
        key: str | None = None,
    ) -> tuple[Notice, bool]:
        """Create a notice. Return it, and True for a repeated call.

        Raise `InvalidFields` if the target may not be called, `EncryptionKeyMissing`, `NoticesFull`, and
        `IdempotencyKeyReused`.
        """
        described, sealed = self._describe(channel, target), self._sealer.seal(target)
        asked = [name, channel, target, [rule.record for rule in rules], paused]
        with self._database.transaction() as connection:
            if (earlier := replays.reserve(connection, caller, key, kind="notice", asked=asked)) is not None:
                return self._show(connection, caller, ids.encode("ntc", earlier)), True
            created = notices.create(
                connection,
                tenant_id=caller.tenant_id,
                name=name,
                channel=channel,
                target=described,
                sealed_target=sealed,
                rules=rules,
                paused_by=caller.actor if paused else None,
                max_notices=NOTICES.value,
            )
            if created is None:
                sentence = f"The tenant has reached its limit of {NOTICES.value} notices; delete one first."
                raise NoticesFull(NOTICES.message(sentence))
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return created, False

    def _describe(self, channel: Channel, target: str) -> str:
        """Return what is shown of a target. Raise `InvalidFields`."""
        if channel is Channel.EMAIL and not self._mail_domains:
            message = "This installation sends no mail, because AVA_MAIL_DOMAINS is not set."
            raise InvalidFields(f"channel: {message}", {"channel": [message]})
        try:
            if channel is Channel.EMAIL:
                return describe_addresses(read_addresses(target, self._mail_domains))
            return outbound_url.parse(target, rules=self._rules).origin
        except (OutboundError, ValueError) as error:
            raise InvalidFields(f"target: {error}", {"target": [str(error)]}) from None

    def show(self, caller: Caller, notice_id: str) -> Notice:
        """Return a notice. Raise `NoticeNotFound`."""
        with self._database.connect() as connection:
            return self._show(connection, caller, notice_id)

    def _show(self, connection: Connection, caller: Caller, notice_id: str, *, is_locked: bool = False) -> Notice:
        found = notices.show(connection, tenant_id=caller.tenant_id, notice_id=notice_id, is_locked=is_locked)
        if found is None:
            raise NoticeNotFound
        return found

    def page(self, caller: Caller, *, paused: bool | None, bounds: PageBounds) -> tuple[list[Notice], int]:
        with self._database.connect() as connection:
            return notices.page(connection, tenant_id=caller.tenant_id, paused=paused, bounds=bounds)

    def change(self, caller: Caller, notice_id: str, **changes: Any) -> tuple[Notice, Notice]:
        """Change the given fields: `name`, `channel`, `target`, `rules`. Return the notice before and after.

        Raise `NoticeNotFound`, and like `create`; also `InvalidFields` for a new channel without a target.
        """
        target, channel = changes.pop("target", None), changes.get("channel")
        sealed = None if target is None else self._sealer.seal(target)
        with self._database.transaction() as connection:
            before = self._show(connection, caller, notice_id, is_locked=True)
            if target is None and channel not in (None, before.channel):
                message = "A new channel needs its own target."
                raise InvalidFields(f"target: {message}", {"target": [message]})
            if target is not None:
                changes |= {"target": self._describe(channel or before.channel, target), "sealed_target": sealed}
            return before, notices.change(connection, tenant_id=caller.tenant_id, notice_id=notice_id, **changes)

    def pause(self, caller: Caller, notice_id: str, /, *, reason: str | None = None) -> tuple[bool, Notice]:
        """Pause a notice. Return whether it was paused before, and its record. Raise `NoticeNotFound`."""
        with self._database.transaction() as connection:
            is_new = endpoints.pause(
                connection, tenant_id=caller.tenant_id, endpoint_id=notice_id, by=caller.actor, reason=reason
            )
            return not is_new, self._show(connection, caller, notice_id)

    def resume(self, caller: Caller, notice_id: str, /) -> tuple[bool, Notice]:
        """Resume a notice. Return whether it was paused before, and its record. Raise `NoticeNotFound`."""
        with self._database.transaction() as connection:
            was_paused = endpoints.resume(connection, tenant_id=caller.tenant_id, endpoint_id=notice_id)
            return was_paused, self._show(connection, caller, notice_id)

    def delete(self, caller: Caller, notice_id: str) -> None:
        """Delete a notice. Raise `NoticeNotFound`."""
        with self._database.connect() as connection:
            if not endpoints.delete(connection, tenant_id=caller.tenant_id, endpoint_id=notice_id):
                raise NoticeNotFound

    def send_test(self, caller: Caller, notice_id: str) -> Delivery:
        """Send a test message. Raise `NoticeNotFound`, `NoticeStateConflict` if the notice is paused."""
        with self._database.transaction() as connection:
            notice = self._show(connection, caller, notice_id)
            if notice.paused is not None:
                raise NoticeStateConflict
            event = Event.new(TEST, tenant_id=caller.tenant_id, created_at=clock.now(connection))
            body = make_message_body(
                event, {}, notice_id=notice.id, notice=notice.name, count=1, public_url=self._public_url
            )
            return deliveries.insert_test(connection, endpoint_id=notice.id, event=event, body=body)
