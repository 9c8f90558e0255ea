"""Hooks: URLs that receive providers' webhooks, a request as received, and its outcome."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, NoReturn

from ava.domain import client_json
from ava.domain.access.actor import Actor
from ava.domain.access.tokens import without_secrets
from ava.domain.delivery import DeliveryStatus
from ava.domain.events.event import Refusal, compact_json
from ava.domain.events.subscription import Rule
from ava.domain.events.verifiers import PROVIDERS, DedupeBy, Provider, Verifier, row_of
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.priority import FACTS
from ava.domain.pause import Pause
from ava.domain.record import about
from ava.domain.secrets.redaction import HIDDEN, is_credential
from ava.errors import InvalidFields, RequestError

DEFAULT_TOLERANCE_SECONDS = 300
#: Max simultaneously valid secrets: the current one and replaced ones.
MAX_SECRETS = 4
#: Why a paused hook skips a delivery.
SKIP_REASON = "The hook was paused; replay the delivery to process it."
_VERIFIER = about("How the requests are authenticated.")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")


def is_name(string: str) -> bool:
    """Return True if the string is a valid hook name, which may become part of an event type."""
    return bool(_NAME.fullmatch(string))


def default_type(name: str) -> str:
    """Return the event type if the provider names none."""
    return f"hook.{name}"


@dataclass(frozen=True, kw_only=True)
class HookSpec(Rule):
    """A hook as a client requests it, without its secrets."""

    name: str = field(metadata=about("A name. Events that have no other type are of type `hook.<name>`."))
    provider: Provider = field(metadata=about("The provider that sends the requests."))
    match_json: str | None = field(
        default=None,
        metadata=about(
            "A pattern over the event, as in a subscription. Other deliveries are accepted and start nothing.",
            payload="value",
        ),
    )
    input_json: str | None = field(
        default=None, metadata=about("A template of the job's input. Requires `worker_id`.", payload="value")
    )
    custom: Verifier | None = None
    worker_id: str | None = field(
        default=None, metadata=about("Each delivery creates a job of this worker, and no event.")
    )
    event_type: str | None = field(
        default=None, metadata=about("The type of the events. Default: the type that the provider names.")
    )
    priority: int = field(default=DEFAULT_PRIORITY, metadata=FACTS)
    dedupe: DedupeBy = field(
        metadata=about(
            "How to detect a duplicate delivery, which starts nothing. `id` compares the sender's id within 24 hours. "
            "`body` compares the body, while its signed time is accepted, or within 24 hours without a signed time. "
            "`both` compares both, and either match is a duplicate. `none` accepts every delivery. The default is "
            "`both` for github, stripe, slack and shopify, `id` for standard, and `none` for none and for a custom "
            "hook without a signed time."
        )
    )
    tolerance_seconds: int = field(
        default=DEFAULT_TOLERANCE_SECONDS,
        metadata=about(
            "Max difference in seconds between the signed time and now, in either direction.", minimum=1, maximum=3_600
        ),
    )

    @property
    def verifier(self) -> Verifier:
        return self.custom or PROVIDERS[self.provider]


@dataclass(frozen=True, kw_only=True)
class Hook(HookSpec):
    """A stored hook. Its secrets stay in the store."""

    id: str = field(metadata={"prefix": "hk"})
    tenant_id: str
    paused: Pause | None
    prefix: str = field(metadata=about("The part of its token that is not secret."))
    previous_token_until: datetime | None = field(
        metadata=about("When the previous URL, before the last rotation, stops working.")
    )
    secret_count: int = field(metadata=about("The number of valid secrets.", name="secrets", maximum=MAX_SECRETS))
    created_by: Actor
    #: The persons who have changed it, as `actor.join` writes them.
    changers: str | None = None
    created_at: datetime
    updated_at: datetime
    url: str | None = field(
        default=None,
        metadata=about("The URL of the hook, shown only in the response that creates or rotates it; otherwise null."),
    )
    secret: str | None = field(
        default=None,
        repr=False,
        metadata=about("The generated secret, shown only in the response that creates it."),
    )

    @property
    def verifier_json(self) -> Annotated[str, _VERIFIER]:
        return json.dumps(row_of(self.verifier))


def check(spec: HookSpec) -> None:
    """Raise `InvalidFields` for the first field that contradicts another one."""
    if (spec.provider is Provider.CUSTOM) != (spec.custom is not None):
        _refuse("verifier", "It is allowed only for the provider `custom`.")
    if spec.worker_id is not None and spec.event_type is not None:
        _refuse("event_type", "Send either worker_id, so that each delivery creates a job, or event_type.")
    if spec.worker_id is None and spec.input_json is not None:
        _refuse("input", "It requires worker_id; for events, set the template on each subscription.")
    if spec.dedupe in (DedupeBy.ID, DedupeBy.BOTH) and spec.verifier.id is None:
        _refuse("dedupe", "This verifier does not define the id of a delivery; use `body` or `none`.")


def _refuse(name: str, reason: str) -> NoReturn:
    raise InvalidFields(f"{name}: {reason}", {name: [reason]})


def stored_headers(headers: Mapping[str, str], verifier: Verifier) -> dict[str, str]:
    """Return a request's headers for storage: credentials masked, this service's tokens cut off.

    `Referer` or a proxy's header may contain the hook's full URL. Signatures are retained, because a signature proves
    only one body and a replayed delivery is verified again.
    """
    signing_names = (verifier.header, verifier.time_header)
    is_signed = verifier.secret_header is None
    return {
        name: without_secrets(value)
        if (is_signed and name in signing_names) or not _is_secret(name, verifier)
        else HIDDEN
        for name, value in headers.items()
    }


def within_bytes(headers: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """Drop the longest headers until all fit into `max_bytes`."""
    fitting: set[str] = set()
    for name in sorted(headers, key=lambda name: len(headers[name])):
        if (max_bytes := max_bytes - len(name) - len(headers[name])) < 0:
            break
        fitting.add(name)
    return {name: value for name, value in headers.items() if name in fitting}


def _is_secret(name: str, verifier: Verifier) -> bool:
    return name == verifier.secret_header or is_credential(name)


@dataclass(frozen=True, kw_only=True)
class Received:
    #: A repeated header's values are joined by commas. Each character is one byte (latin-1).
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    #: The full URL that the sender called, under `AVA_PUBLIC_URL`.
    url: str = ""
    data: Any = None


class BodyTooLarge(Exception):
    """A compressed body exceeds the limit once it is unpacked."""


def unpacked(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Undo the `Content-Encoding` gzip. Return other bodies, and bodies that are not valid gzip, unchanged.

    Raise `BodyTooLarge` instead of unpacking more than `max_bytes`.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    try:
        unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
        found = unpacking.decompress(body, max_bytes + 1)
    except zlib.error:
        return body
    if len(found) > max_bytes:
        raise BodyTooLarge
    return found if unpacking.eof else body


def begin_of(body: bytes, max_bytes: int) -> bytes:
    """Return the beginning of a body, without a truncated UTF-8 character at its end."""
    end = min(max_bytes, len(body))
    while max_bytes - 3 <= end < len(body) and body[end] & 0xC0 == 0x80:
        end -= 1
    return body[:end]


def read_body(body: bytes) -> tuple[Any, str]:
    """Return a body as a value and as JSON.

    A body that is not JSON, or exceeds the limits of JSON, becomes `{"body": "…"}`, or `{"base64": "…"}` if it is not
    UTF-8.
    """
    with suppress(RequestError, ValueError):
        value = client_json.parse(body)
        return value, compact_json(value)
    try:
        value = {"body": body.decode()}
    except UnicodeDecodeError:
        value = {"base64": base64.b64encode(body).decode()}
    return value, compact_json(value)


_DUPLICATE = "True for a duplicate. The response then describes the first delivery."


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The outcome of a request to a hook."""

    #: The delivery; for a duplicate, the first one.
    delivery_id: str = field(default="", metadata={"prefix": "del"})
    is_duplicate: bool = field(default=False, metadata={"name": "duplicate", "description": _DUPLICATE})
    job_ids: Sequence[str] = field(default=(), metadata={"prefix": "job"})
    refused: Sequence[Refusal] = ()
    more_count: int = 0
    #: Whether the hook is paused or contained, so that the delivery starts nothing until it is replayed.
    is_skipped: bool = False
    #: The response to a handshake, which is not stored; None for a delivery.
    handshake: str | None = None

    @property
    def status(self) -> DeliveryStatus:
        if self.is_duplicate:
            return DeliveryStatus.DUPLICATE
        return DeliveryStatus.SKIPPED if self.is_skipped else DeliveryStatus.ACCEPTED


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The response that the sender of a test would get."""

    __test__ = False

    status: int = field(metadata={"minimum": 200, "maximum": 599})
    reason: str | None = field(metadata=about("Why the delivery was refused or skipped, or created no job."))
    delivery_id: str | None = field(metadata={"prefix": "del"})
    is_duplicate: bool = field(metadata={"name": "duplicate"})
    job_ids: Sequence[str] = field(metadata={"prefix": "job"})
