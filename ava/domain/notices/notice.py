"""Notices: their channels, and the rules that choose events and limit messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ava.domain.limits.table import NOTICE_RECIPIENTS
from ava.domain.pause import Pause
from ava.domain.record import about
from ava.domain.webhooks.webhook import EndpointStatus

#: `POST /v1/ava/notices/:id/test`; no rule names it.
TEST = "notice.test"
DEFAULT_SECONDS = 300
MAX_SECONDS = 604_800
MAX_MESSAGES = 100
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+)")


class Channel(StrEnum):
    """The kind of a notice's target."""

    SLACK = "slack"
    TEAMS = "teams"
    EMAIL = "email"
    WEBHOOK = "webhook"


class NoticeEvent(StrEnum):
    """An event that a rule may name."""

    JOB_FAILED = "job.failed"
    ERROR_OPENED = "error.opened"
    ERROR_REGRESSED = "error.regressed"
    SCHEDULE_DISABLED = "schedule.disabled"
    WEBHOOK_DEGRADED = "webhook.degraded"
    BACKLOG = "backlog"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_REMINDED = "approval.reminded"
    CONTAINMENT_STARTED = "containment.started"
    CONTAINMENT_COMPLETED = "containment.completed"


#: The fields that a rule about an event may have besides `at_most`.
CONDITIONS: Mapping[NoticeEvent, tuple[str, ...]] = {
    NoticeEvent.JOB_FAILED: ("worker_id", "tag", "queue"),
    NoticeEvent.ERROR_OPENED: ("worker_id",),
    NoticeEvent.ERROR_REGRESSED: ("worker_id",),
    NoticeEvent.SCHEDULE_DISABLED: ("worker_id",),
    NoticeEvent.BACKLOG: ("queue", "older_than_seconds"),
    NoticeEvent.APPROVAL_REQUESTED: ("worker_id",),
    NoticeEvent.APPROVAL_REMINDED: ("worker_id",),
}


@dataclass(frozen=True, kw_only=True)
class NoticeRule:
    """Which events a notice is about, and how many messages it sends."""

    event: NoticeEvent
    worker_id: str | None = None
    #: The key and the value of a tag of the job.
    tag: tuple[str, str] | None = None
    queue: str | None = None
    #: Of a backlog: the minimum waiting time of its oldest job.
    older_than_seconds: int | None = None
    #: Max messages in `seconds`, for each error group.
    max_messages: int = 1
    seconds: int = DEFAULT_SECONDS

    @property
    def record(self) -> dict[str, Any]:
        """Return the rule as the API shows it and the database stores it."""
        return {
            "event": self.event.value,
            "worker_id": self.worker_id,
            "tag": None if self.tag is None else {"key": self.tag[0], "value": self.tag[1]},
            "queue": self.queue,
            "older_than_seconds": self.older_than_seconds,
            "at_most": {"count": self.max_messages, "seconds": self.seconds},
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> NoticeRule:
        """Return the rule of a record."""
        tag, at_most = record["tag"], record["at_most"]
        return cls(
            event=NoticeEvent(record["event"]),
            worker_id=record["worker_id"],
            tag=None if tag is None else (tag["key"], tag["value"]),
            queue=record["queue"],
            older_than_seconds=record["older_than_seconds"],
            max_messages=at_most["count"],
            seconds=at_most["seconds"],
        )

    def matches(self, occurrence: Occurrence) -> bool:
        """Return True if an occurrence meets the rule."""
        return (
            self.event is occurrence.event
            and self.worker_id in (None, occurrence.facts.get("worker_id"))
            and self.queue in (None, occurrence.queue)
            and (self.tag is None or occurrence.tags.get(self.tag[0]) == self.tag[1])
        )


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One or more equal events of a tenant."""

    tenant_id: str
    event: NoticeEvent
    #: The contents of messages about it: names, ids, the kind of an error, the title of an approval; never a payload.
    #: Rules compare `worker_id`.
    facts: Mapping[str, str | int]
    #: The error group, which has its own messages; empty: none, and the events of a rule share their messages.
    subject: str = ""
    count: int = 1
    queue: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A notice. Its target stays sealed in the store."""

    id: str = field(metadata={"prefix": "ntc"})
    name: str
    channel: Channel
    #: The host of the target, or the number of mail addresses and their domains.
    target: str = field(metadata=about("The host or the mail domains of the target, which is never shown."))
    rules: Sequence[NoticeRule] = field(metadata={"name": "on"})
    status: EndpointStatus = field(metadata=about("`degraded`: a delivery was abandoned and none has succeeded since."))
    paused: Pause | None
    created_at: datetime
    updated_at: datetime

    @property
    def on_json(self) -> str:
        """The rules as records, as serialized JSON."""
        return json.dumps([rule.record for rule in self.rules], separators=(",", ":"))


def read_addresses(target: str, domains: Sequence[str]) -> list[str]:
    """Return the mail addresses of a target, separated by commas. Raise `ValueError` with the reason if it is invalid.

    `domains`: the permitted domains of mail addresses.
    """
    addresses = list(dict.fromkeys(address.strip() for address in target.split(",")))
    if len(addresses) > NOTICE_RECIPIENTS.value:
        raise ValueError(NOTICE_RECIPIENTS.message(f"It has more than {NOTICE_RECIPIENTS.value} mail addresses."))
    for address in addresses:
        local, _, domain = address.rpartition("@")
        if not _ADDRESS.fullmatch(f"{local}@{domain.lower()}"):
            raise ValueError("It must be mail addresses such as team@example.com, separated by commas.")
        if domain.lower() not in domains:
            raise ValueError(f"Mail may only be sent to the domains of AVA_MAIL_DOMAINS: {', '.join(domains)}.")
    return addresses


def describe_addresses(addresses: Sequence[str]) -> str:
    """Return the number of mail addresses and their domains."""
    domains = sorted({address.rpartition("@")[2].lower() for address in addresses})
    return f"{len(addresses)} {'address' if len(addresses) == 1 else 'addresses'} at {', '.join(domains)}"
