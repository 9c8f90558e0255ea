"""Verifiers: how providers sign requests, as data. A table has the known providers; `custom` hooks bring a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from ava.domain.events.event import split_path


class Provider(StrEnum):
    """The sender of a hook's requests."""

    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    STANDARD = "standard"
    SHOPIFY = "shopify"
    #: The user supplies the verifier.
    CUSTOM = "custom"
    #: Unsigned: only the token in the URL authenticates.
    NONE = "none"


class Scheme(StrEnum):
    """How a request is authenticated."""

    #: A header contains the HMAC of the signed string.
    HMAC = "hmac"
    #: A header contains the secret.
    SHARED_SECRET = "shared_secret"  # noqa: S105 - the name of a scheme
    #: A URL parameter contains the secret.
    URL_SECRET = "url_secret"  # noqa: S105 - the name of a scheme
    #: A header contains a signature, which a public key verifies.
    ASYMMETRIC = "asymmetric"
    #: Only the token in the URL.
    NONE = "none"


class Algorithm(StrEnum):
    """The algorithm of a signature: an HMAC digest or a public-key algorithm."""

    SHA256 = "sha256"
    SHA512 = "sha512"
    SHA1 = "sha1"
    ED25519 = "ed25519"
    ECDSA = "ecdsa_sha256"
    RSA = "rsa_sha256"


_ASYMMETRIC = (Algorithm.ED25519, Algorithm.ECDSA, Algorithm.RSA)


class Encoding(StrEnum):
    HEX = "hex"
    BASE64 = "base64"


class KeyForm(StrEnum):
    """How a key is derived from the secret's string."""

    #: UTF-8; a public key is PEM.
    TEXT = "text"
    BASE64 = "base64"
    HEX = "hex"
    #: `whsec_` and base64, or UTF-8 of a secret without `whsec_`.
    STANDARD = "standard"


class TimeUnit(StrEnum):
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"


class DedupeBy(StrEnum):
    """The deduplication key of a delivery."""

    ID = "id"
    BODY = "body"
    BOTH = "both"
    NONE = "none"


class RowError(ValueError):
    """A verifier's row is invalid; `field` names the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """A provider's test request to the URL. It gets a response and starts nothing."""

    #: The placeholder that identifies a handshake, such as `{body:type}`, …
    where: str
    #: … and its value in one.
    equals: str
    #: Template of the response, such as `{body:challenge}`.
    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A row of the table."""

    scheme: Scheme
    #: The header with the signature or secret.
    header: str | None = None
    #: The URL parameter with the secret (`url_secret`).
    parameter: str | None = None
    #: Separator of the header's entries; None: a single entry.
    separator: str | None = None
    #: Prefix of each signature in the header, such as `sha256=`; other entries are not signatures.
    prefix: str = ""
    algorithm: Algorithm = Algorithm.SHA256
    encoding: Encoding = Encoding.HEX
    key: KeyForm = KeyForm.TEXT
    #: Template of the signed string, with `{body}`, `{time}`, `{id}`, `{url}` and `{header:name}`.
    signed: str = "{body}"
    #: The header with the signed time, or …
    time_header: str | None = None
    #: … the time's prefix among the entries of the signature's header.
    time_prefix: str | None = None
    time_unit: TimeUnit = TimeUnit.SECONDS
    #: The placeholder of the delivery's id: `{header:name}` or `{body:path}`.
    id: str | None = None
    #: Templates of the event type, such as `github.{header:x-github-event}.{body:action}`. Missing placeholders are
    #: omitted with their dot. The first template whose first placeholder exists is used.
    type: tuple[str, ...] = ()
    handshake: Handshake | None = None
    #: The value of this parameter is the response to a GET.
    challenge: str | None = None
    #: The response to a delivery: its status, and a body instead of the record.
    answer_status: int = 202
    answer_text: str | None = None

    @property
    def has_time(self) -> bool:
        return self.time_header is not None or self.time_prefix is not None

    @property
    def needs_secret(self) -> bool:
        return self.scheme is not Scheme.NONE

    @property
    def secret_header(self) -> str | None:
        """Return the header that contains the secret itself, and is therefore never stored."""
        return self.header if self.scheme is Scheme.SHARED_SECRET else None

    def default_dedupe(self, provider: Provider) -> DedupeBy:
        """Return a hook's deduplication key, unless its creator chooses one."""
        if provider is Provider.STANDARD:
            return DedupeBy.ID
        if provider is Provider.NONE or (provider is Provider.CUSTOM and not self.has_time):
            return DedupeBy.NONE
        return DedupeBy.BODY if self.id is None else DedupeBy.BOTH


#: Verifiers of known providers. Sources: docs.github.com (validating webhook deliveries), docs.stripe.com (webhooks,
#: verify manually), docs.slack.dev (verifying requests), standardwebhooks.com (specification 1.0), shopify.dev (verify
#: a webhook's origin).
PROVIDERS: dict[Provider, Verifier] = {
    Provider.GITHUB: Verifier(
        scheme=Scheme.HMAC,
        header="x-hub-signature-256",
        prefix="sha256=",
        id="{header:x-github-delivery}",
        type=("github.{header:x-github-event}.{body:action}",),
        handshake=Handshake(where="{header:x-github-event}", equals="ping"),
    ),
    Provider.STRIPE: Verifier(
        scheme=Scheme.HMAC,
        header="stripe-signature",
        separator=",",
        prefix="v1=",
        signed="{time}.{body}",
        time_prefix="t=",
        id="{body:id}",
        type=("stripe.{body:type}",),
    ),
    Provider.SLACK: Verifier(
        scheme=Scheme.HMAC,
        header="x-slack-signature",
        prefix="v0=",
        signed="v0:{time}:{body}",
        time_header="x-slack-request-timestamp",
        id="{body:event_id}",
        # Commands and interactions are forms, not JSON.
        type=("slack.{body:event.type}", "slack.{body:type}", "slack.form"),
        handshake=Handshake(where="{body:type}", equals="url_verification", answer="{body:challenge}"),
        # Slack shows the response's body to the user who sent a command.
        answer_status=200,
        answer_text="",
    ),
    Provider.STANDARD: Verifier(
        scheme=Scheme.HMAC,
        header="webhook-signature",
        separator=" ",
        prefix="v1,",
        encoding=Encoding.BASE64,
        key=KeyForm.STANDARD,
        signed="{id}.{time}.{body}",
        time_header="webhook-timestamp",
        id="{header:webhook-id}",
        type=("standard.{body:type}",),
    ),
    Provider.SHOPIFY: Verifier(
        scheme=Scheme.HMAC,
        header="x-shopify-hmac-sha256",
        encoding=Encoding.BASE64,
        id="{header:x-shopify-webhook-id}",
        type=("shopify.{header:x-shopify-topic}",),
    ),
    Provider.NONE: Verifier(scheme=Scheme.NONE),
}

#: Max characters of a string in a row.
_MAX_TEXT = 200
_MAX_TYPES = 5
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SIGNED_PLACEHOLDERS = ("body", "time", "id", "url")


def read_row(given: object) -> Verifier:
    """Read the verifier of a user's row. Raise `RowError` with the invalid field."""
    if not isinstance(given, dict):
        raise RowError("", 'It must be an object, such as {"scheme": "hmac", "header": "x-signature"}.')
    known = {each.name for each in fields(Verifier)}
    for name in given:
        if name not in known:
            raise RowError(str(name)[:_MAX_TEXT], f"It is unknown; known fields are {', '.join(sorted(known))}.")
    values = {name: _read(name, value) for name, value in given.items() if value is not None}
    if "scheme" not in values:
        raise RowError("scheme", f"It is missing; it must be one of {', '.join(Scheme)}.")
    row = Verifier(**values)
    _check(row)
    return row


def row_of(verifier: Verifier) -> dict[str, Any]:
    """Return a verifier as a user's row: the fields that differ from their defaults."""
    default = Verifier(scheme=verifier.scheme)
    given = asdict(verifier)
    row = {each.name: given[each.name] for each in fields(Verifier) if given[each.name] != getattr(default, each.name)}
    return {"scheme": verifier.scheme.value, **{n: list(v) if isinstance(v, tuple) else v for n, v in row.items()}}


_CHOICES: dict[str, type[StrEnum]] = {
    "scheme": Scheme,
    "algorithm": Algorithm,
    "encoding": Encoding,
    "key": KeyForm,
    "time_unit": TimeUnit,
}


def _read(name: str, value: Any) -> Any:
    if name in _CHOICES:
        try:
            return _CHOICES[name](value)
        except ValueError:
            raise RowError(name, f"It must be one of {', '.join(_CHOICES[name])}.") from None
    return _READERS.get(name, _string)(name, value)


def _status(name: str, value: Any) -> int:
    if type(value) is not int or not 200 <= value <= 299:
        raise RowError(name, "It must be an integer from 200 to 299.")
    return value


def _types(name: str, value: Any) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not 1 <= len(strings) <= _MAX_TYPES:
        raise RowError(name, f"It must be a string, or a list of at most {_MAX_TYPES} strings.")
    return tuple(_string(name, each) for each in strings)


def _header(name: str, value: Any) -> str:
    string = _string(name, value).lower()
    if not _HEADER.fullmatch(string):
        raise RowError(name, "It must be the name of a header.")
    return string


def _string(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isascii() or not value.isprintable():
        raise RowError(name, f"It must be a string of at most {_MAX_TEXT} printable ASCII characters.")
    return value


def _handshake(name: str, value: Any) -> Handshake:
    if not isinstance(value, dict) or not {"where", "equals"} <= set(value) <= {"where", "equals", "answer"}:
        raise RowError(name, "It must have `where` and `equals`, and may have `answer`.")
    return Handshake(**{part: _string(f"{name}.{part}", each) for part, each in value.items()})


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "answer_status": _status,
    "type": _types,
    "handshake": _handshake,
    "header": _header,
    "time_header": _header,
}


def _check(row: Verifier) -> None:
    is_signed = row.scheme in (Scheme.HMAC, Scheme.ASYMMETRIC)
    if (is_signed or row.scheme is Scheme.SHARED_SECRET) and not row.header:
        raise RowError("header", f"It is missing; the scheme {row.scheme} reads a header.")
    if row.scheme is Scheme.URL_SECRET and not row.parameter:
        raise RowError("parameter", "It is missing; the scheme url_secret reads a parameter of the URL.")
    if (row.algorithm in _ASYMMETRIC) != (row.scheme is Scheme.ASYMMETRIC):
        raise RowError("algorithm", f"The scheme {row.scheme} does not use {row.algorithm}.")
    if row.separator is not None and (len(row.separator) != 1 or not row.prefix):
        raise RowError("separator", "It must be one character, and `prefix` must mark the entries that are signatures.")
    if row.time_prefix and not row.separator:
        raise RowError("time_prefix", "It needs a `separator` between the entries of the header.")
    if row.time_header and row.time_prefix:
        raise RowError("time_header", "Send either time_header or time_prefix.")
    for name, strings in (("id", [row.id or ""]), ("type", row.type), ("handshake", _strings_of(row.handshake))):
        for string in strings:
            _check_placeholders(name, string, known=())
    _check_signed(row, is_signed)


def _strings_of(handshake: Handshake | None) -> list[str]:
    return [] if handshake is None else [handshake.where, handshake.answer]


def _check_signed(row: Verifier, is_signed: bool) -> None:
    if not is_signed:
        if row.has_time:
            raise RowError("time_header", f"The scheme {row.scheme} signs nothing, so a time proves nothing.")
        return
    _check_placeholders("signed", row.signed, known=_SIGNED_PLACEHOLDERS)
    if row.signed.count("{body}") != 1:
        raise RowError("signed", "It must contain {body} exactly once.")
    if row.has_time != ("{time}" in row.signed):
        raise RowError("signed", "It must contain {time} if time_header or time_prefix is set, and only then.")
    if "{id}" in row.signed and not (row.id or "").startswith("{header:"):
        raise RowError("id", "It must be {header:…}, because `signed` contains {id}.")


def _check_placeholders(name: str, string: str, *, known: tuple[str, ...]) -> None:
    for placeholder in _PLACEHOLDER.findall(string):
        kind, _, rest = placeholder.partition(":")
        is_right = (
            placeholder in known
            or (kind == "header" and _HEADER.fullmatch(rest))
            or (kind == "body" and not known and split_path(rest) is not None)
        )
        if not is_right:
            allowed = ", ".join(
                [*(f"{{{each}}}" for each in known), "{header:name}", *([] if known else ["{body:path}"])]
            )
            raise RowError(name, f"{{{placeholder}}} is unknown; known placeholders are {allowed}.")
