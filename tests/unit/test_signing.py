"""Proofs: what a key has signed is verified offline; each changed, cut or invented one is refused in a sentence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner

from ava.cli.main import cli
from ava.domain.secrets.signing import PROOF_TYPE, InvalidProof, SigningKey, read_keys, verify

# Fixed, because they are part of the names of the tests.
KEY, OTHER, THIRD = (SigningKey(bytes([n] * 32)) for n in (1, 2, 3))
RECORD = {"containment": {"id": "con_1", "held_count": 3, "reason": "é, \u2028"}, "tenant_id": "ten_a"}
JWS = KEY.sign(RECORD)
HEADER, PAYLOAD, SIGNATURE = JWS.split(".")
JWKS = {"keys": [OTHER.public.jwk, KEY.public.jwk]}


def _encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else rfc8785.dumps(value)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _forged(header: dict[str, Any], payload: Any = RECORD, key: SigningKey = KEY) -> str:
    """Sign anything with the real key."""
    signed = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{signed}.{_encoded(key._key.sign(signed.encode()))}"


REAL = {"alg": "EdDSA", "kid": KEY.public.kid, "typ": PROOF_TYPE}


def test_a_signed_record_is_verified_with_its_key_alone_or_among_others() -> None:
    assert verify(JWS, JWKS) == (RECORD, KEY.public.kid)
    assert verify(f"{JWS}\n", KEY.public.jwk) == (RECORD, KEY.public.kid)
    assert verify(_forged(REAL), JWKS)[0] == RECORD
    # RFC 8037, appendix A: the key, its thumbprint and its signature.
    given = SigningKey(base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
    assert given.public.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert given.public.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("jws", "sentence"),
    [
        ("", "three parts"),
        ("a.b", "three parts"),
        (f"{JWS}.x", "three parts"),
        (JWS[:-3], "base64url|signature is wrong"),
        (f"{HEADER}.{PAYLOAD}.", "signature is not base64url"),
        (f"{HEADER}.{PAYLOAD}.{_encoded(bytes(64))}", "signature is wrong"),
        (f"{HEADER}.{PAYLOAD}.{SIGNATURE}=", "not base64url"),
        (f"{HEADER}.{PAYLOAD}.é", "not base64url"),
        (f"{HEADER}.{_encoded({**RECORD, 'tenant_id': 'ten_b'})}.{SIGNATURE}", "signature is wrong"),
        (f"{HEADER}.{PAYLOAD}\n.{SIGNATURE}", "not base64url"),
        ("x" * (2**20 + 1), "larger"),
        (OTHER.sign(RECORD).replace(OTHER.sign(RECORD).split(".")[0], HEADER), "signature is wrong"),
        (THIRD.sign(RECORD), "kid is unknown"),
        (_forged({**REAL, "alg": "none"}), "header"),
        (_forged({**REAL, "typ": "JWT"}), "header"),
        (_forged({**REAL, "crit": ["b64"], "b64": False}), "header"),
        (_forged({**REAL, "jwk": OTHER.public.jwk}), "header"),
        (_forged({**REAL, "kid": None}), "kid is unknown"),
        (_forged(REAL, b'{"a":1,"a":2}'), "RFC 8785"),
        (_forged(REAL, b'{"a": 1}'), "RFC 8785"),
        (_forged(REAL, b"[1]"), "RFC 8785"),
        (_forged(REAL, b'{"a":NaN}'), "RFC 8785"),
        (_forged(REAL, b"[" * 100_000), "RFC 8785"),
        (_forged(REAL, b"\xff"), "RFC 8785"),
    ],
)
def test_every_other_proof_is_refused_in_a_sentence(jws: str, sentence: str) -> None:
    with pytest.raises(InvalidProof, match=sentence):
        verify(jws, JWKS)


@pytest.mark.parametrize(
    "keys",
    ["", "[", "[]", "null", '{"keys": 1}', '{"keys": [1]}', "[" * 100_000,
     json.dumps({"keys": [{"crv": "Ed25519", "x": "AA"}]}), json.dumps({"crv": "Ed25519", "x": "é"}),
     json.dumps({"keys": [{}] * 1_001}), json.dumps({"keys": [{"crv": "Ed448", "x": KEY.public.x}]})],
)  # fmt: skip
def test_keys_that_are_none_are_refused_in_a_sentence(keys: str) -> None:
    with pytest.raises(InvalidProof):
        verify(JWS, read_keys(keys))


def test_the_command_verifies_offline_without_settings(tmp_path: Path) -> None:
    proof, keys = tmp_path / "con_1.jws", tmp_path / "keys.json"
    keys.write_text(json.dumps(JWKS))
    argv = ["containments", "verify", str(proof), "--keys", str(keys)]
    for text, code in ((f"{JWS}\n", 0), (JWS[:-3], 1), (f"{HEADER}.{PAYLOAD}.{_encoded(bytes(64))}", 1)):
        proof.write_text(text)
        result = CliRunner(env={"AVA_INTERNAL_SECRET": "", "AVA_API_KEY": ""}).invoke(cli, argv)
        assert result.exit_code == code, result.output
        if code == 0:
            assert json.loads(result.stdout) == RECORD
            assert result.stderr == f"Valid: signed by the key {KEY.public.kid}.\n"
        else:
            assert "NOT VALID" in result.stderr
            assert result.stdout == ""
