"""The mapping from claims of the identity provider to tenants and roles (`AVA_OIDC_MAPPING`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Role
from ava.domain.access.sign_in import Person, derive_user, name_of
from ava.errors import ClaimMissing, SettingsError

_VARIABLE = "AVA_OIDC_MAPPING"
_MAX_BYTES = 2**20
#: Maximum tenants of one person; the rest of a longer list is ignored.
_MAX_TENANTS = 1_000
_RULE_FIELDS = frozenset(("claim", "value", "tenant", "tenant_claim", "role"))

#: The names that lead to a claim: `("groups",)`, or `("realm_access", "roles")` for a claim within an object.
_Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRule:
    claim: _Path
    #: The values that match; empty: any.
    values: frozenset[str]
    #: The tenant, or the claim that has the ids of the tenants.
    tenant_id: str | None
    tenant_claim: _Path | None
    role: Role

    def tenants(self, claims: Mapping[str, Any]) -> Sequence[str]:
        """Return the tenants where a person with these claims has the role."""
        found = _strings(claims, self.claim)
        if not found or (self.values and self.values.isdisjoint(found)):
            return ()
        if self.tenant_claim is None:
            return (str(self.tenant_id),)
        return [each for each in _strings(claims, self.tenant_claim) if ids.is_client_id("ten", each)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimMapping:
    issuer: str
    #: The claim with the user's id; None: the id is derived from issuer and subject.
    user_claim: _Path | None
    rules: Sequence[ClaimRule]

    def person_of(self, claims: Mapping[str, Any]) -> Person:
        """Return the person with these claims. Raise `ClaimMissing`, which names the claims."""
        roles: dict[str, Role] = {}
        for rule in self.rules:
            for tenant_id in rule.tenants(claims):
                if tenant_id in roles or len(roles) < _MAX_TENANTS:
                    roles[tenant_id] = max(rule.role, roles.get(tenant_id, rule.role))
        if not roles:
            named = sorted({".".join(path) for rule in self.rules for path in (rule.claim, rule.tenant_claim) if path})
            raise ClaimMissing(
                f"No rule of {_VARIABLE} matches this account: its claim {' or '.join(named)} is missing or has no "
                "mapped value. Ask your administrator for access."
            )
        user_id, subject = self._user_of(claims), str(claims["sub"])
        return Person(subject=subject, user_id=user_id, name=name_of(claims), roles=roles)

    def _user_of(self, claims: Mapping[str, Any]) -> str:
        if self.user_claim is None:
            return derive_user(self.issuer, str(claims["sub"]))
        found = _strings(claims, self.user_claim)
        if len(found) != 1 or not ids.is_client_id("usr", found[0]):
            raise ClaimMissing(
                f"The claim {'.'.join(self.user_claim)}, which {_VARIABLE} names, must be the user's id, such as "
                "usr_01hxyz."
            )
        return found[0]


def _strings(claims: Mapping[str, Any], path: _Path) -> Sequence[str]:
    """Return the strings of a claim, whether it is a string or a list."""
    if path == ("email",) and claims.get("email_verified") is not True:
        # At many providers, anyone may register another person's address.
        return ()
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    found = value if isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, str)]


def load(path: str, *, issuer: str) -> ClaimMapping:
    """Read a mapping from a YAML or JSON file. Raise `SettingsError`."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise _wrong("the file is larger than 1 MiB")
        document = _parse(content.decode())
    except (OSError, ValueError) as problem:
        raise _wrong(f"the file cannot be read as YAML or JSON ({type(problem).__name__})") from None
    if not isinstance(document, dict) or not isinstance(document.get("rules"), list) or not document["rules"]:
        raise _wrong("the file must be an object with a list `rules`")
    if unknown := set(document) - {"rules", "user_claim"}:
        raise _wrong(f"unknown field {min(map(str, unknown))}; the fields are user_claim and rules")
    user_claim = _path(document["user_claim"], "user_claim") if "user_claim" in document else None
    return ClaimMapping(issuer=issuer, user_claim=user_claim, rules=tuple(_rules(document["rules"])))


def _parse(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return json.loads(text)
    try:
        import yaml
    except ImportError:
        raise _wrong("a YAML file needs PyYAML; install ava-jobs[oidc], or write JSON") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError from error


def _rules(rules: Sequence[Any]) -> Iterator[ClaimRule]:
    for number, rule in enumerate(rules):
        where = f"rules[{number}]"
        if not isinstance(rule, dict) or "claim" not in rule or set(rule) - _RULE_FIELDS:
            raise _wrong(f"{where} must have claim, role, tenant or tenant_claim, and optionally value")
        if ("tenant" in rule) == ("tenant_claim" in rule):
            raise _wrong(f"{where} must have either tenant or tenant_claim")
        role = Role.parse(str(rule.get("role")))
        if role is None:
            raise _wrong(f"{where}.role must be one of {', '.join(each.header for each in Role if each)}")
        tenant_id = rule.get("tenant")
        if tenant_id is not None and not (isinstance(tenant_id, str) and ids.is_client_id("ten", tenant_id)):
            raise _wrong(f"{where}.tenant must be an id such as ten_acme")
        yield ClaimRule(
            claim=_path(rule["claim"], f"{where}.claim"),
            values=frozenset(_path(rule["value"], f"{where}.value")) if "value" in rule else frozenset(),
            tenant_id=tenant_id,
            tenant_claim=_path(rule["tenant_claim"], f"{where}.tenant_claim") if "tenant_claim" in rule else None,
            role=role,
        )


def _path(value: Any, where: str) -> _Path:
    """Return a string, or a list of strings, as a tuple."""
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(each, str) and each for each in found):
        raise _wrong(f"{where} must be a string or a list of strings")
    return tuple(found)


def _wrong(reason: str) -> SettingsError:
    return SettingsError(_VARIABLE, reason)
