"""Approvals: decisions of persons that jobs wait for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import rfc8785

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.access.caller import Role
from ava.domain.input_schema import check_schema
from ava.domain.record import about, as_record
from ava.domain.strings import one_line, printable

MAX_TITLE_CHARS = 200
#: Max bytes of a payload, of a schema, and of the data of a decision, as JSON.
MAX_CONTENT_BYTES = 256 * 1024
MAX_COMMENT_CHARS = 2_000
MAX_COUNT = 20
#: Max users or roles that an approval names.
MAX_NAMES = 100
#: 366 days.
MAX_SECONDS = 31_622_400.0
DEFAULT_ROLES = (Role.TENANT_ADMIN.header,)
DEFAULT_TIMEOUT_SECONDS = 86_400.0


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    #: Not decided in time.
    EXPIRED = "expired"
    #: Its job ended or has another question now.
    CANCELLED = "cancelled"


class OnTimeout(StrEnum):
    """The effect of a timeout on the handler."""

    DENY = "deny"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalRequest:
    """A validated request for a decision. `of` creates it."""

    title: str
    #: The content that persons decide about, as JSON.
    payload_json: str
    #: The JSON Schema of the decision's data; None: no data.
    schema_json: str | None
    #: SHA-256 of the title, the payload and the schema.
    payload_hash: str
    roles: Sequence[str] = DEFAULT_ROLES
    #: If given, only these users decide, whatever their role.
    users: Sequence[str] | None = None
    #: Whether the persons behind the job may not decide.
    not_by: bool = True
    #: Number of different persons who must approve.
    count: int = 1
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    on_timeout: OnTimeout = OnTimeout.DENY
    #: Seconds from the request to the reminder.
    remind_seconds: float | None = None
    #: Further roles that may decide from the reminder on; without a reminder from half of the time on.
    escalate_roles: Sequence[str] | None = None

    @classmethod
    def of(  # noqa: PLR0913 - each is a field that an author may give
        cls,
        title: object,
        *,
        payload: object = None,
        schema: object = None,
        roles: object = DEFAULT_ROLES,
        users: object = None,
        not_by: object = True,
        count: object = 1,
        timeout_seconds: object = DEFAULT_TIMEOUT_SECONDS,
        on_timeout: object = OnTimeout.DENY,
        remind_seconds: object = None,
        escalate_roles: object = None,
    ) -> ApprovalRequest:
        """Return a request. Raise `ValueError` that names the wrong field."""
        if not isinstance(not_by, bool):
            raise ValueError("not_by must be true or false")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
            raise ValueError(f"count must be a whole number from 1 to {MAX_COUNT}")
        if on_timeout not in tuple(OnTimeout):
            raise ValueError('on_timeout must be "deny" or "fail"')
        title, payload_json, schema_json = _title(title), _payload(payload), _schema(schema)
        named = None if users is None else _names("users", users)
        if named is not None and (len(named) < count or not all(ids.is_client_id("usr", each) for each in named)):
            raise ValueError(f"users must list at least {count} ids such as usr_alice")
        return cls(
            title=title,
            payload_json=payload_json,
            schema_json=schema_json,
            payload_hash=payload_hash(title, payload_json, schema_json),
            roles=_roles("roles", roles),
            users=named,
            not_by=not_by,
            count=count,
            timeout_seconds=_seconds("timeout_seconds", timeout_seconds),
            on_timeout=OnTimeout(str(on_timeout)),
            remind_seconds=None if remind_seconds is None else _seconds("remind_seconds", remind_seconds),
            escalate_roles=None if escalate_roles is None else _roles("escalate_roles", escalate_roles),
        )

    @property
    def reminder_seconds(self) -> float | None:
        """Return the seconds from the request to the reminder; None: no reminder."""
        if self.remind_seconds is None and self.escalate_roles is not None:
            return self.timeout_seconds / 2
        return self.remind_seconds

    def masked(self, mask: Any) -> ApprovalRequest:
        """Return the request with the secrets of its run masked; the hash is computed from the unmasked content."""
        return replace(self, title=mask.string(self.title), payload_json=mask.json_string(self.payload_json))


def payload_hash(title: str, payload_json: str, schema_json: str | None) -> str:
    """Return the hash of the content shown, over its form of RFC 8785. Raise `ValueError` if it has none."""
    content = {
        "title": title,
        "payload": json.loads(payload_json),
        "schema": None if schema_json is None else json.loads(schema_json),
    }
    try:
        canonical = rfc8785.dumps(content)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(
            "the content of an approval must be JSON as in RFC 8785: integers within 2^53, no NaN, no half of a "
            "surrogate pair"
        ) from error
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def _title(title: object) -> str:
    is_shown = isinstance(title, str) and title.strip() and printable(title, allowed="\u00a0\u202f") == title
    if not isinstance(title, str) or not is_shown or len(title) > MAX_TITLE_CHARS:
        raise ValueError(f"title must be a string of 1 to {MAX_TITLE_CHARS} printable characters")
    return title


def _payload(payload: object) -> str:
    try:
        payload_json = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"payload: {error}") from error
    if len(payload_json) > MAX_CONTENT_BYTES:
        raise ValueError(f"payload has {len(payload_json):,} bytes of JSON; at most {MAX_CONTENT_BYTES:,} are accepted")
    return payload_json


def _schema(schema: object) -> str | None:
    if schema is None:
        return None
    if not isinstance(schema, Mapping):
        raise ValueError("schema must be a JSON Schema, an object")
    try:
        return check_schema(schema, max_bytes=MAX_CONTENT_BYTES)
    except ValueError as error:
        raise ValueError(f"schema: {error}") from error


def _names(field_name: str, given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not 1 <= len(given) <= MAX_NAMES:
        raise ValueError(f"{field_name} must be a list of 1 to {MAX_NAMES} names")
    if not all(isinstance(each, str) for each in given):
        raise ValueError(f"{field_name} must be a list of strings")
    return tuple(dict.fromkeys(given))


def _roles(field_name: str, given: object) -> tuple[str, ...]:
    names = _names(field_name, given)
    if (unknown := next((each for each in names if Role.parse(each) is None), None)) is not None:
        raise ValueError(f"{field_name} must list roles such as {DEFAULT_ROLES[0]}, not {unknown!r:.80}")
    return names


def _seconds(field_name: str, seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{field_name} must be a number of seconds from 1 to {MAX_SECONDS:,.0f}")
    return float(seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalDecision:
    """The decision of one person."""

    by: Actor = field(metadata=about("Who decided."))
    approved: bool
    comment: str | None = field(default=None, metadata={"payload": "string"})
    data_json: str | None = field(
        default=None, metadata={"description": "The answer, as `schema` describes it.", "form": {}, "payload": "value"}
    )
    at: datetime

    def record(self) -> dict[str, Any]:
        """Return it as the database and the journal store it."""
        return {
            "by": json.loads(self.by.json),
            "approved": self.approved,
            "comment": self.comment,
            "data": None if self.data_json is None else json.loads(self.data_json),
            "at": self.at.isoformat(),
        }

    def shown(self) -> dict[str, Any]:
        """Return its record for clients."""
        return as_record(self, "by approved comment data at")

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> ApprovalDecision:
        data = stored["data"]
        return cls(
            by=Actor.of(stored["by"]),
            approved=stored["approved"],
            comment=stored["comment"],
            data_json=None if data is None else json.dumps(data, separators=(",", ":")),
            at=datetime.fromisoformat(stored["at"]),
        )


#: The fields of an approval's record, in the contract's order.
RECORD = (
    "id job_id worker_id name title payload payload_hash schema roles users not_by count decisions status requested_at "
    "expires_at decided_at"
)
_HIDDEN = {"payload": "value"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """A stored approval, as clients see it."""

    id: str = field(metadata={"prefix": "apr"})
    tenant_id: str
    job_id: str = field(metadata={"prefix": "job"})
    worker_id: str
    #: Its name in the job's journal; None: the job waits before its first start.
    name: str | None = field(metadata=about("Its name in the job's journal; null: before the first start."))
    title: str = field(metadata={"payload": "string"})
    payload_json: str = field(
        metadata=_HIDDEN | {"description": "The content to decide about, any JSON value.", "form": {}}
    )
    payload_hash: str = field(
        metadata=about(
            "`sha256:` and the SHA-256 in hex of `{title, payload, schema}` in the form of RFC 8785, "
            "before secrets were masked. A decision names it."
        )
    )
    schema_json: str | None = field(metadata=_HIDDEN)
    roles: Sequence[str]
    users: Sequence[str] | None = field(metadata=about("If given, only these users may decide, whatever their role."))
    not_by: bool
    count: int
    on_timeout: OnTimeout
    decisions: Sequence[ApprovalDecision]
    status: ApprovalStatus
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    #: The persons behind its job, and the persons behind its decisions.
    requesters: Sequence[str]
    deciders: Sequence[str]

    def with_decision(self, decision: ApprovalDecision, person: str) -> Approval:
        """Return the approval after a person's decision: one denial denies, and `count` persons approve."""
        decisions = [*self.decisions, decision]
        status = self.status
        if not decision.approved:
            status = ApprovalStatus.DENIED
        elif len(decisions) >= self.count:
            status = ApprovalStatus.APPROVED
        decided_at = None if status is ApprovalStatus.PENDING else decision.at
        deciders = [*self.deciders, person]
        return replace(self, decisions=decisions, deciders=deciders, status=status, decided_at=decided_at)

    def record(self) -> dict[str, Any]:
        """Return the record of webhooks, as the API writes it."""
        return as_record(self, RECORD) | {"decisions": [each.shown() for each in self.decisions]}

    @property
    def journal_json(self) -> str:
        """Return the value of its journal entry, the result that a run reads."""
        last = self.decisions[-1].record() if self.decisions and self.status in _DECIDED else None
        return json.dumps(
            {
                "id": self.id,
                "payload_hash": self.payload_hash,
                "status": self.status.value,
                "data": None if last is None else last["data"],
                "comment": None if last is None else last["comment"],
                "by": [each.record()["by"] for each in self.decisions],
                "at": None if self.decided_at is None else self.decided_at.isoformat(),
            },
            separators=(",", ":"),
        )

    @property
    def denial(self) -> str:
        """Return the error of a job that its denial or its timeout ends before the first start."""
        if self.status is ApprovalStatus.EXPIRED:
            seconds = round((self.expires_at - self.requested_at).total_seconds(), 3)
            kind = "WaitTimeout" if self.on_timeout is OnTimeout.FAIL else "Denied"
            return f"{kind}: not decided within {seconds:g} s"
        return one_line(f"Denied: {self.decisions[-1].comment or 'no comment'}")


_DECIDED = (ApprovalStatus.APPROVED, ApprovalStatus.DENIED)


@dataclass(frozen=True, kw_only=True, slots=True)
class SentDecision:
    """A decision as a caller sends it."""

    approved: bool
    payload_hash: str
    comment: str | None = None
    #: Serialized.
    data_json: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalFilter:
    """A filter for approvals; None means any."""

    status: ApprovalStatus | None = None
    job_id: str | None = None
    #: Only approvals that the caller may decide.
    is_mine: bool = False

    @property
    def is_of_pending(self) -> bool:
        return self.is_mine or self.status is ApprovalStatus.PENDING


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The result of `env.approve`."""

    approved: bool
    #: The answer of the last decider, as its schema describes it.
    data: Any = None
    comment: str | None = None
    #: The deciders: `{"id", "kind", "via", "label"}`.
    by: Sequence[Mapping[str, Any]] = ()
    #: None without a decision in time.
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalledApproval:
    """An approval in a job's journal."""

    id: str
    payload_hash: str
    status: ApprovalStatus
    decision: Decision

    @classmethod
    def read(cls, value_json: str) -> JournalledApproval:
        value = json.loads(value_json)
        status, at = ApprovalStatus(value["status"]), value["at"]
        decision = Decision(
            approved=status is ApprovalStatus.APPROVED,
            data=value["data"],
            comment=value["comment"],
            by=tuple({name: by[name] for name in ("id", "kind", "via", "label")} for by in value["by"]),
            at=None if at is None or status not in _DECIDED else datetime.fromisoformat(at),
        )
        return cls(id=value["id"], payload_hash=value["payload_hash"], status=status, decision=decision)
