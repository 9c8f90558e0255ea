"""Authenticate requests to hooks with pure functions over verifiers, and read ids, types and handshakes from them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ava.domain.events.event import MISSING, find_at_path
from ava.domain.events.hook import Received
from ava.domain.events.verifiers import Algorithm, DedupeBy, Encoding, KeyForm, Scheme, TimeUnit, Verifier
from ava.domain.strings import storable
from ava.domain.webhooks.webhook_events import signing_key

#: Lifetime in seconds of a delivery's deduplication by id, and by body if no time is signed.
DAY_SECONDS = 24 * 3600
#: Max compared signatures of one request; no provider sends more.
_MAX_SIGNATURES = 16
#: Max characters of a sender's id, and of an event type.
_MAX_ID = 255
_MAX_TYPE = 200
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_TIME = re.compile(r"\d{1,14}", re.ASCII)
_NO_TYPE_CHARACTER = re.compile(r"[^\x21-\x7e]")


def verify(
    verifier: Verifier, secrets: Sequence[str], request: Received, *, now: float | None, tolerance_seconds: float
) -> str | None:
    """Return in one sentence why the request is not authentic; None if it is.

    Compare all secrets with all signatures, so that the time does not reveal which one matches. `now`: Unix seconds;
    None skips the check of the time, for a replayed delivery.
    """
    if verifier.scheme is Scheme.NONE:
        return None
    if verifier.scheme in (Scheme.SHARED_SECRET, Scheme.URL_SECRET):
        return _verify_secret(verifier, secrets, request)
    signatures = _signatures(verifier, request.headers.get(verifier.header or "", ""))
    if not signatures:
        return f"The header {verifier.header} is missing, or lacks the form {verifier.prefix}<{verifier.encoding}>."
    signed = _signed_bytes(verifier, request)
    if signed is None:
        return "A signed header is missing, or the signed time is not a time."
    check = _check_public if verifier.scheme is Scheme.ASYMMETRIC else _check_hmac
    # A list, not a generator, so that every pair is compared.
    if True not in [check(verifier, secret, signed, signatures) for secret in secrets]:
        return "The signature is wrong: the secret differs, or the body was changed in transit."
    return None if now is None else _time_fault(verifier, request, now, tolerance_seconds)


def _verify_secret(verifier: Verifier, secrets: Sequence[str], request: Received) -> str | None:
    in_header = verifier.scheme is Scheme.SHARED_SECRET
    where = f"header {verifier.header}" if in_header else f"parameter {verifier.parameter}"
    source = request.headers if in_header else request.query
    given = source.get((verifier.header if in_header else verifier.parameter) or "")
    if not given or not given.startswith(verifier.prefix):
        return f"The {where} is missing."
    signature = given[len(verifier.prefix) :].encode("latin-1" if in_header else "utf-8", "replace")
    matches = [hmac.compare_digest(signature, secret.encode()) for secret in secrets]
    return None if True in matches else f"The secret in {where} is wrong."


def _signatures(verifier: Verifier, given: str) -> list[bytes]:
    entries = [given] if verifier.separator is None else given.split(verifier.separator)
    found = [
        entry.strip().removeprefix(verifier.prefix) for entry in entries if entry.strip().startswith(verifier.prefix)
    ]
    decode = _from_hex if verifier.encoding is Encoding.HEX else _from_base64
    return [each for each in map(decode, found[:_MAX_SIGNATURES]) if each]


def _from_hex(string: str) -> bytes | None:
    try:
        found = bytes.fromhex(string)
    except ValueError:
        return None
    # `fromhex` accepts spaces and mixed case, which no sender writes.
    return found if string in (found.hex(), found.hex().upper()) else None


def _from_base64(string: str) -> bytes | None:
    try:
        found = base64.b64decode(string, validate=True)
    except (binascii.Error, ValueError):
        return None
    # The last base64 character has unused bits; refuse signatures that differ there, so that each has one spelling.
    return found if base64.b64encode(found).decode() == string else None


def _time_string(verifier: Verifier, request: Received) -> str | None:
    if verifier.time_header is not None:
        return request.headers.get(verifier.time_header)
    entries = request.headers.get(verifier.header or "", "").split(verifier.separator or ",")
    times = [each.strip().removeprefix(verifier.time_prefix or "") for each in entries
             if each.strip().startswith(verifier.time_prefix or "")]  # fmt: skip
    # Two times are ambiguous.
    return times[0] if len(times) == 1 else None


def signed_seconds(verifier: Verifier, request: Received) -> float | None:
    """Return the signed time in Unix seconds; None without one."""
    if not verifier.has_time:
        return None
    timestamp = _time_string(verifier, request)
    if timestamp is None or not _TIME.fullmatch(timestamp):
        return None
    return int(timestamp) / (1000 if verifier.time_unit is TimeUnit.MILLISECONDS else 1)


def _time_fault(verifier: Verifier, request: Received, now: float, tolerance_seconds: float) -> str | None:
    if not verifier.has_time:
        return None
    at = signed_seconds(verifier, request)
    if at is None:
        return "The signed time is missing or not a number."
    if abs(now - at) <= tolerance_seconds:
        return None
    side = "in the past" if at < now else "in the future"
    return f"The signed time is {abs(now - at):.0f} s {side}; {tolerance_seconds:g} s are accepted."


def _signed_bytes(verifier: Verifier, request: Received) -> bytes | None:
    """Return the signed bytes; None if a part is missing."""
    pieces: list[bytes] = []
    for position, piece in enumerate(_PLACEHOLDER.split(verifier.signed)):
        found = piece.encode() if position % 2 == 0 else _signed_piece(verifier, request, piece)
        if found is None:
            return None
        pieces.append(found)
    return b"".join(pieces)


def _signed_piece(verifier: Verifier, request: Received, placeholder: str) -> bytes | None:
    if placeholder == "body":
        return request.body
    if placeholder == "url":
        return request.url.encode()
    if placeholder == "time":
        timestamp = _time_string(verifier, request)
        return timestamp.encode() if timestamp is not None and _TIME.fullmatch(timestamp) else None
    name = (verifier.id or "")[1:-1] if placeholder == "id" else placeholder
    value = request.headers.get(name.removeprefix("header:"))
    return None if value is None else value.encode("latin-1", "replace")


def _check_hmac(verifier: Verifier, secret: str, signed: bytes, signatures: Sequence[bytes]) -> bool:
    expected = hmac.digest(_key(verifier.key, secret), signed, verifier.algorithm.value)
    return True in [hmac.compare_digest(expected, each) for each in signatures]


def _key(form: KeyForm, secret: str) -> bytes:
    if form is KeyForm.STANDARD:
        return signing_key(secret)
    if form is KeyForm.BASE64:
        return base64.b64decode(secret, validate=True)
    return bytes.fromhex(secret) if form is KeyForm.HEX else secret.encode()


def _check_public(verifier: Verifier, secret: str, signed: bytes, signatures: Sequence[bytes]) -> bool:
    key = _public_key(verifier.algorithm, verifier.key, secret)
    return True in [_fits(key, signed, each) for each in signatures]


def _fits(key: Any, signed: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def _public_key(algorithm: Algorithm, form: KeyForm, secret: str) -> Any:
    """Return the public key. Raise `ValueError` if the string encodes none for the algorithm."""
    if algorithm is Algorithm.ED25519 and form is not KeyForm.TEXT:
        return Ed25519PublicKey.from_public_bytes(_key(form, secret.removeprefix("whpk_")))
    key = (
        serialization.load_pem_public_key(secret.encode())
        if form is KeyForm.TEXT
        else serialization.load_der_public_key(_key(form, secret))
    )
    kind = {Algorithm.ED25519: Ed25519PublicKey, Algorithm.ECDSA: ec.EllipticCurvePublicKey}.get(
        algorithm, rsa.RSAPublicKey
    )
    if not isinstance(key, kind):
        raise ValueError(f"it is not a public key for {algorithm}")
    return key


def check_secret(verifier: Verifier, secret: str) -> None:
    """Raise `ValueError`, without the secret in its message, if the secret yields no key."""
    try:
        if verifier.scheme is Scheme.ASYMMETRIC:
            _public_key(verifier.algorithm, verifier.key, secret)
        elif verifier.scheme is Scheme.HMAC:
            _key(verifier.key, secret)
    except Exception:
        what = "public key" if verifier.scheme is Scheme.ASYMMETRIC else "secret"
        raise ValueError(f"It is not a {what} in the form that the verifier's `key` names.") from None


def sign(verifier: Verifier, secret: str, request: Received, *, now: float) -> dict[str, str]:
    """Return the headers that a sender with this secret adds to a request, for tests of a hook.

    Raise `ValueError` for schemes with public keys, because only the sender has the private key.
    """
    if verifier.scheme is Scheme.ASYMMETRIC:
        raise ValueError("Only the sender has the private key.")
    if verifier.scheme is not Scheme.HMAC:
        return {} if verifier.secret_header is None else {verifier.secret_header: verifier.prefix + secret}
    time_string = str(int(now * (1000 if verifier.time_unit is TimeUnit.MILLISECONDS else 1)))
    added = {} if verifier.time_header is None else {verifier.time_header: time_string}
    if "{id}" in verifier.signed:
        name = (verifier.id or "")[1:-1].removeprefix("header:")
        added[name] = request.headers.get(name) or f"msg_{time_string}"
    header = verifier.header or ""
    entries = [] if verifier.time_prefix is None else [f"{verifier.time_prefix}{time_string}"]
    headers = {**request.headers, **added, header: (verifier.separator or "").join(entries)}
    signed = _signed_bytes(verifier, Received(headers=headers, body=request.body, url=request.url)) or b""
    digest = hmac.digest(_key(verifier.key, secret), signed, verifier.algorithm.value)
    signature = digest.hex() if verifier.encoding is Encoding.HEX else base64.b64encode(digest).decode()
    return added | {header: (verifier.separator or "").join([*entries, verifier.prefix + signature])}


# Facts from an authentic request -----------------------------------------------------------------------------------


def _value_of(request: Received, placeholder: str) -> str | None:
    """Return the string or number at a path of the request, as a string; None without one."""
    kind, _, rest = placeholder.partition(":")
    found = request.headers.get(rest, MISSING) if kind == "header" else find_at_path(request.data, rest.split("."))
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        return None
    return found if isinstance(found, str) else str(found)


def _whole_id(verifier: Verifier, request: Received) -> str | None:
    return None if verifier.id is None else _value_of(request, verifier.id.strip("{}"))


def sender_id(verifier: Verifier, request: Received) -> str | None:
    """Return the sender's id of the delivery for display, truncated; None if it has none."""
    found = _whole_id(verifier, request)
    return None if found is None else storable(found[:_MAX_ID])


def derived_type(verifier: Verifier, request: Received) -> str | None:
    """Return the event type that the provider names; None if it names none."""
    for template in verifier.type:
        parts = _PLACEHOLDER.split(template)
        found = [_value_of(request, placeholder) for placeholder in parts[1::2]]
        if found and found[0] is None:
            continue
        values = [parts[0]]
        for value, literal in zip(found, parts[2::2], strict=True):
            # Omit a missing placeholder together with the dot before it.
            values += [value, literal] if value is not None else [literal]
            if value is None:
                values[-2] = values[-2].removesuffix(".")
        type_ = _NO_TYPE_CHARACTER.sub("_", "".join(values).replace("/", "."))[:_MAX_TYPE]
        if type_ and not type_.startswith("ava."):
            return type_
    return None


def handshake_response(verifier: Verifier, request: Received) -> str | None:
    handshake = verifier.handshake
    if handshake is None or _value_of(request, handshake.where.strip("{}")) != handshake.equals:
        return None
    return _PLACEHOLDER.sub(lambda placeholder: (_value_of(request, placeholder[1]) or "")[:1024], handshake.answer)


def dedupe_keys(
    verifier: Verifier, dedupe: DedupeBy, request: Received, *, now: float, tolerance_seconds: float
) -> list[tuple[bytes, float]]:
    """Return the deduplication keys of a delivery: digests, each with its lifetime in seconds."""
    keys: list[tuple[bytes, float]] = []
    id_ = _whole_id(verifier, request) if dedupe in (DedupeBy.ID, DedupeBy.BOTH) else None
    if id_ is not None:
        keys.append((hashlib.sha256(b"id\0" + id_.encode("utf-8", "surrogatepass")).digest(), DAY_SECONDS))
    if dedupe in (DedupeBy.BODY, DedupeBy.BOTH):
        at = signed_seconds(verifier, request)
        # As long as a replay with this signed time would be accepted.
        seconds = DAY_SECONDS if at is None else max(tolerance_seconds, at + tolerance_seconds - now)
        keys.append((hashlib.sha256(b"body\0" + request.body).digest(), seconds))
    return sorted(keys)
