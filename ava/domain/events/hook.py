"""Hooks: addresses to which providers send, and the deliveries that arrived."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from ava.domain.access.tokens import without_secrets
from ava.domain.events.subscription import Rule
from ava.domain.events.verifiers import PROVIDERS, DedupeBy, Provider, Verifier
from ava.domain.secrets.redaction import HIDDEN, is_credential
from ava.errors import InvalidFields

DEFAULT_TOLERANCE_SECONDS = 300
MAX_TOLERANCE_SECONDS = 3600
#: Secrets that are valid at once, the present one and those that it replaces.
MAX_SECRETS = 4
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")


class HookVerdict(StrEnum):
    """What became of a delivery."""

    ACCEPTED = "accepted"
    #: It repeats an earlier one and starts nothing.
    DUPLICATE = "duplicate"
    REFUSED = "refused"


def is_name(text: str) -> bool:
    """Returns True if a text is the name of a hook, which may be a part of the type of its events."""
    return bool(_NAME.fullmatch(text))


def default_type(name: str) -> str:
    """Returns the type of events whose provider names none."""
    return f"hook.{name}"


@dataclass(frozen=True, kw_only=True)
class HookSpec(Rule):
    """A hook as a client asks for it, without its secrets."""

    name: str
    provider: Provider
    #: The row of a `custom` hook.
    custom: Verifier | None = None
    #: The worker whose job each delivery makes; None: it is an event.
    worker_id: str | None = None
    #: The type of its events; None: the one that the provider names.
    event_type: str | None = None
    priority: int
    dedupe: DedupeBy
    tolerance_seconds: int = DEFAULT_TOLERANCE_SECONDS
    enabled: bool = True

    @property
    def verifier(self) -> Verifier:
        """Returns how its requests are verified."""
        return self.custom or PROVIDERS[self.provider]


@dataclass(frozen=True, kw_only=True)
class Hook(HookSpec):
    """A hook as it stands in the database. Its secrets stay in the store."""

    id: str
    tenant_id: str
    #: The part of its token that is not secret.
    prefix: str
    #: Until when its previous token is valid; None if it has none.
    previous_token_until: datetime | None
    #: How many secrets are valid.
    secret_count: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    #: The whole address, in the answer that makes it alone.
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class HookDelivery:
    """A request that a hook has received."""

    id: str
    tenant_id: str
    hook_id: str
    verdict: HookVerdict
    #: The status of the answer.
    status: int
    #: Why it was refused; None otherwise.
    reason: str | None
    created_at: datetime
    event_id: str | None = None
    event_type: str | None = None
    #: The sender's own id of it.
    source_id: str | None = None
    job_ids: Sequence[str] = ()
    #: The delivery that a duplicate repeats.
    duplicate_of: str | None = None
    #: The delivery that this one replays.
    replay_of: str | None = None
    address: str = ""
    #: An object of texts, as JSON text; secrets are masked.
    headers_json: str = "{}"
    #: The raw bytes; None where they are left out.
    body: bytes | None = None
    body_bytes: int = 0


def check(spec: HookSpec) -> None:
    """Raises `InvalidFields` for the first field of a hook that contradicts another one."""
    if (spec.provider is Provider.CUSTOM) != (spec.custom is not None):
        _refuse("verifier", "It is the row of a hook with the provider `custom`, and of no other.")
    if spec.worker_id is not None and spec.event_type is not None:
        _refuse("event_type", "Send worker_id, whose job each delivery makes, or event_type, not both.")
    if spec.worker_id is None and spec.input_json is not None:
        _refuse("input", "It needs a worker_id; of an event each subscription has a template of its own.")
    if spec.dedupe in (DedupeBy.ID, DedupeBy.BOTH) and spec.verifier.id is None:
        _refuse("dedupe", "This verifier names no id of a delivery; use `body` or `none`.")


def _refuse(name: str, reason: str) -> NoReturn:
    raise InvalidFields(f"{name}: {reason}", {name: [reason]})


def stored_headers(headers: Mapping[str, str], verifier: Verifier) -> dict[str, str]:
    """Return the headers of a request as they are stored: credentials are masked, and tokens of this service cut off.

    `Referer`, or the header of a proxy, may hold the whole address of the hook. A signature is no credential: it proves
    one text. So a delivery that is replayed is verified once more.
    """
    kept = (verifier.header, verifier.time_header)
    is_signed = verifier.secret_header is None
    return {
        name: without_secrets(text) if (is_signed and name in kept) or not _is_secret(name, verifier) else HIDDEN
        for name, text in headers.items()
    }


def within_bytes(headers: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """Return headers of at most `max_bytes` together. The longest are left out first."""
    kept: set[str] = set()
    for name in sorted(headers, key=lambda name: len(headers[name])):
        if (max_bytes := max_bytes - len(name) - len(headers[name])) < 0:
            break
        kept.add(name)
    return {name: text for name, text in headers.items() if name in kept}


def _is_secret(name: str, verifier: Verifier) -> bool:
    return name == verifier.secret_header or is_credential(name)


def body_text(body: bytes) -> str:
    """Returns a body as a text: as it is, or in base64 if it is no UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()
