"""The table of resources and verbs: each verb that a resource does not have has a reason, and no other verb has one."""

from __future__ import annotations

import pytest

from tools.resources import REASONS, VERBS, contradictions, verb_of


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/ava/hooks", ("hooks", "create")),
        ("GET", "/v1/webhooks", ("webhooks", "list")),
        ("GET", "/v1/ava/jobs/{job_id}", ("jobs", "show")),
        ("POST", "/v1/ava/queues/{queue}/pause", ("queues", "pause")),
        ("GET", "/v1/ava/hooks/{hook_id}/deliveries", ("deliveries", "list")),
        ("POST", "/v1/webhooks/{webhook_id}/deliveries/redeliver", ("deliveries", "`/redeliver`")),
        ("GET", "/v1/ava/jobs/{job_id}/logs/download", ("jobs", "`logs/download`")),
        ("DELETE", "/v1/ava/session", ("session", "delete")),
    ],
)
def test_a_route_is_a_verb_of_its_resource(method: str, path: str, found: tuple[str, str]) -> None:
    assert verb_of(method, path) == found


def test_a_missing_verb_without_a_reason_and_a_reason_for_a_present_one_are_contradictions() -> None:
    whole = [verb for verb in VERBS if verb not in REASONS["queues"]]
    assert list(contradictions({"queues": whole, "hooks": list(VERBS)})) == []
    assert list(contradictions({"queues": [*whole, "show"]})) == ["queues: show has a reason to be missing"]
    assert "hooks: list needs a reason" in contradictions({"hooks": ["create"]})
    assert len(list(contradictions({"new": []}))) == len(VERBS)
