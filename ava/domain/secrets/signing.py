"""Sign records with an Ed25519 key of this installation, and verify them offline: JWS (RFC 7515) over RFC 8785 JSON."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: The `typ` of a proof's header, so that no other signature of the key counts as one.
PROOF_TYPE = "ava-containment-proof"
#: Max characters of a signed record, and max keys of a set, that are read.
_MAX_CHARACTERS = 2**20
_MAX_KEYS = 1_000


class InvalidProof(ValueError):
    """The record is not one that a known key has signed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicKey:
    """A public key, as a JSON Web Key has it (RFC 8037)."""

    #: 32 bytes in base64url, without padding.
    x: str

    @property
    def kid(self) -> str:
        """Return its thumbprint (RFC 7638)."""
        thumbprint = rfc8785.dumps({"crv": "Ed25519", "kty": "OKP", "x": self.x})
        return _encode(hashlib.sha256(thumbprint).digest())

    @property
    def jwk(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": "Ed25519", "x": self.x, "kid": self.kid, "use": "sig", "alg": "EdDSA"}


class SigningKey:
    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 random bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(x=_encode(self._key.public_key().public_bytes_raw()))

    def sign(self, record: Mapping[str, Any]) -> str:
        """Return a record as a compact JWS."""
        header = {"alg": "EdDSA", "kid": self.public.kid, "typ": PROOF_TYPE}
        signed = f"{_encode(rfc8785.dumps(header))}.{_encode(rfc8785.dumps(dict(record)))}"
        return f"{signed}.{_encode(self._key.sign(signed.encode()))}"


def verify(jws: str, key_set: object) -> tuple[dict[str, Any], str]:
    """Return the record of a compact JWS, and the `kid` of the key in a JWKS that has signed it.

    Raise `InvalidProof`, whose sentence names the fault.
    """
    if len(jws) > _MAX_CHARACTERS:
        raise InvalidProof("The file is larger than any proof.")
    parts = jws.strip().split(".")
    if len(parts) != 3:
        raise InvalidProof("The file is no proof: it needs three parts of base64url with dots between them.")
    header, payload = _object(parts[0], "header"), _object(parts[1], "record")
    if set(header) != {"alg", "kid", "typ"} or header["alg"] != "EdDSA" or header["typ"] != PROOF_TYPE:
        raise InvalidProof("The header is not that of a proof of a containment.")
    keys = [each for each in public_keys(key_set) if each.kid == header["kid"]]
    if not keys:
        raise InvalidProof("None of the given keys has signed it: its kid is unknown.")
    key = Ed25519PublicKey.from_public_bytes(_decode(keys[0].x, "key"))
    try:
        key.verify(_decode(parts[2], "signature"), f"{parts[0]}.{parts[1]}".encode())
    except InvalidSignature:
        raise InvalidProof("The signature is wrong: the proof was changed, or another key has signed it.") from None
    return payload, keys[0].kid


def read_keys(text: str) -> object:
    """Return the JSON of a JWKS or of one JWK. Raise `InvalidProof` if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidProof("The file of the keys is no JSON.") from None


def public_keys(key_set: object) -> Sequence[PublicKey]:
    """Return the Ed25519 keys of a JWKS, or of one JWK. Raise `InvalidProof` if it is neither."""
    found = key_set.get("keys", [key_set]) if isinstance(key_set, Mapping) else None
    if not isinstance(found, list) or len(found) > _MAX_KEYS or not all(isinstance(each, Mapping) for each in found):
        raise InvalidProof("The keys are not a JSON Web Key Set.")
    keys = [PublicKey(x=x) for each in found if each.get("crv") == "Ed25519" and isinstance(x := each.get("x"), str)]
    if not all(len(_decode(each.x, "key")) == 32 for each in keys):
        raise InvalidProof("A key is not 32 bytes in base64url.")
    return keys


def _object(encoded: str, name: str) -> dict[str, Any]:
    """Return a part that is an object in RFC 8785 form, so that each program reads the same record from it."""
    raw = _decode(encoded, name)
    try:
        found = json.loads(raw)
        is_canonical = isinstance(found, dict) and rfc8785.dumps(found) == raw
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        raise InvalidProof(f"The {name} is not a JSON object in RFC 8785 form.")
    return dict(found)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(encoded: str, name: str) -> bytes:
    """Decode base64url without padding; refuse every other spelling of the same bytes."""
    try:
        raw = base64.b64decode(encoded.encode("ascii") + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    if not raw or _encode(raw) != encoded:
        raise InvalidProof(f"The {name} is not base64url; was the file cut or changed?")
    return raw
