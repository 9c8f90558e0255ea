"""Approvals without code: the decision that jobs of a worker, trigger or schedule need before their first start."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

from ava.domain.approval import MAX_CONTENT_BYTES, ApprovalRequest
from ava.domain.events.event import compact_json
from ava.domain.events.patterns import Pattern, compile_pattern
from ava.domain.secrets.redaction import redact
from ava.errors import TooManyComparisons

_OF_REQUEST = [each for each in inspect.signature(ApprovalRequest.of).parameters if each not in ("title", "payload")]
#: The fields of a rule: those of `env.approve` without the payload, which is the job's input, and the condition.
FIELDS = ("title", "when", *_OF_REQUEST)
#: Rules that a process has compiled.
_MAX_RULES = 256


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    #: The arguments of `ApprovalRequest.of` without the payload.
    fields: Mapping[str, Any]
    #: The pattern that the input must match; None: each input. A value of another type counts as matching, because a
    #: handler may convert it.
    when: Pattern | None

    @classmethod
    def of(cls, given: object) -> Self:
        """Return a rule. Raise `ValueError` that names the wrong field."""
        if not isinstance(given, Mapping) or "title" not in given:
            raise ValueError('It must be an object such as {"title": "Delete the account?"}')
        if unknown := sorted(str(name) for name in given if name not in FIELDS):
            raise ValueError(f"It has no field {unknown[0][:100]!r}; it has {', '.join(FIELDS)}")
        fields = {name: value for name, value in given.items() if name != "when"}
        ApprovalRequest.of(**fields)
        try:
            pattern = given.get("when")
            when = None if pattern is None else compile_pattern(pattern, takes_other_types=True)
        except ValueError as error:
            raise ValueError(f"when: {error}") from error
        return cls(fields, when)

    def applies(self, job_input: dict[str, Any]) -> bool:
        """Return True if a job with this input needs the decision, also if the pattern has too many comparisons."""
        try:
            return self.when is None or self.when.matches(job_input)
        except TooManyComparisons:
            return True


def rule_json(given: object) -> str:
    """Return a rule as it is stored. Raise `ValueError` that names the wrong field."""
    ApprovalRule.of(given)
    stored = compact_json(given)
    if len(stored) > MAX_CONTENT_BYTES:
        raise ValueError(f"It has {len(stored):,} bytes of JSON; at most {MAX_CONTENT_BYTES:,} are accepted")
    return stored


@lru_cache(maxsize=_MAX_RULES)
def _compiled(stored: str) -> ApprovalRule:
    return ApprovalRule.of(json.loads(stored))


def first_request(rules: Iterable[str | None], input_json: str) -> ApprovalRequest | None:
    """Return the request of the first rule that applies to a job's input; None if no rule applies.

    Its payload is the input with hidden credentials; its hash covers the whole input. Raise `ValueError` if the
    input cannot be the content of an approval.
    """
    job_input = json.loads(input_json)
    rule = next((each for stored in rules if stored and (each := _compiled(stored)).applies(job_input)), None)
    if rule is None:
        return None
    request = ApprovalRequest.of(**rule.fields, payload=job_input)
    return replace(request, payload_json=json.dumps(redact(job_input), separators=(",", ":")))
