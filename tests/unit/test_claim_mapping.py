"""The mapping of an identity provider's claims to tenants, roles and users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ava.domain.access import claim_mapping
from ava.domain.access.caller import Role
from ava.domain.access.sign_in import is_own_path
from ava.errors import ClaimMissing, SettingsError

_RULES = """
rules:
  - {claim: groups, value: [ops, sre], tenant: ten_a, role: tenant-admin}
  - {claim: groups, value: root, tenant: ten_a, role: platform-admin}
  - {claim: [realm_access, roles], value: viewer, tenant_claim: orgs, role: tenant-user}
  - {claim: email, value: a@example.com, tenant: ten_mail, role: tenant-user}
"""


def _load(text: str, folder: Path) -> claim_mapping.ClaimMapping:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return claim_mapping.load(str(path), issuer="https://login.example.com")


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({"groups": "sre"}, {"ten_a": Role.TENANT_ADMIN}),
        ({"groups": ["root", "ops"]}, {"ten_a": Role.PLATFORM_ADMIN}),
        (
            {"realm_access": {"roles": ["viewer"]}, "orgs": ["ten_x", "acme", "ten_y", 7]},
            {"ten_x": Role.TENANT_USER, "ten_y": Role.TENANT_USER},
        ),
        ({"email": "a@example.com", "email_verified": True}, {"ten_mail": Role.TENANT_USER}),
    ],
)
def test_rules_give_tenants_and_the_highest_role_of_each(
    claims: dict[str, Any], roles: dict[str, Role], tmp_path: Path
) -> None:
    assert _load(_RULES, tmp_path).person_of({"sub": "1", **claims}).roles == roles


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": None},
        {"groups": {"ops": 1}},
        {"groups": ["OPS", 7, None]},
        {"realm_access": ["viewer"], "orgs": "ten_x"},
        {"realm_access": {"roles": "viewer"}},
        {"email": "a@example.com"},
        {"email": "a@example.com", "email_verified": "true"},
    ],
)
def test_a_person_without_a_matching_rule_is_told_the_claims(claims: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ClaimMissing, match=r"email or groups or orgs or realm_access\.roles"):
        _load(_RULES, tmp_path).person_of({"sub": "1", **claims})


def test_the_user_is_that_of_the_named_claim_or_derived_from_issuer_and_subject(tmp_path: Path) -> None:
    groups = {"groups": "ops"}
    derived = _load(_RULES, tmp_path)
    first = derived.person_of({"sub": "1", **groups}).user_id
    assert first == derived.person_of({"sub": "1", **groups, "name": "x"}).user_id
    assert first != derived.person_of({"sub": "2", **groups}).user_id
    named = _load(f"user_claim: ava_user\n{_RULES}", tmp_path)
    assert named.person_of({"sub": "1", "ava_user": "usr_a", **groups}).user_id == "usr_a"
    # A second identity of the same person could decide what the first one may not.
    for claims in ({}, {"ava_user": "key_a"}, {"ava_user": ["usr_a", "usr_b"]}):
        with pytest.raises(ClaimMissing, match="ava_user"):
            named.person_of({"sub": "1", **claims, **groups})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rules: [", "read"),
        ("rules: []", "rules"),
        ("{}", "rules"),
        ("rules: [{claim: a, tenant: ten_a, role: root}]", r"rules\[0\]\.role"),
        ("rules: [{claim: a, tenant: acme, role: tenant-user}]", r"rules\[0\]\.tenant"),
        ("rules: [{claim: a, role: tenant-user}]", "tenant_claim"),
        ("rules: [{claim: a, tenant: ten_a, role: tenant-user, x: 1}]", r"rules\[0\]"),
        ("rules: [{claim: [], tenant: ten_a, role: tenant-user}]", r"rules\[0\]\.claim"),
    ],
)
def test_a_wrong_mapping_is_refused_by_its_place(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^AVA_OIDC_MAPPING: .*{named}"):
        _load(text, tmp_path)


def test_a_path_of_this_installation_leads_to_no_other_host() -> None:
    assert all(map(is_own_path, ("/", "/#/jobs", "/?tenant=ten_a#/jobs/job_1")))
    for path in ("", "jobs", "//evil", "/\\evil", "/\t/evil", "/\r\nx", "https://evil", "/é", "/" + "a" * 1001):
        assert not is_own_path(path), path
