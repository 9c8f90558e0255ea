"""What a caller of another tenant gets of events, subscriptions and hooks, for each route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.api import error_of

__all__ = ["EVENTS_IN", "EVENTS_IN_BODIES", "INBOUND", "SUBSCRIPTIONS"]

EVENTS = "/v1/ava/events"
SUBSCRIPTIONS = "/v1/ava/subscriptions"
SUBSCRIPTION = f"{SUBSCRIPTIONS}/<subscription:subscription_id>"
INBOUND = "/v1/ava/hooks"
INBOUND_HOOK = f"{INBOUND}/<hook:hook_id>"


def _is_404(response: Any) -> None:
    error_of(response, 404, "resource_not_found")


def _sees_nothing(response: Any) -> None:
    assert response.get_json()["data"] == []
    assert response.get_json()["pagination"]["total"] == 0


def _made_one_of_its_own(response: Any) -> None:
    assert response.get_json()["data"]["tenant_id"] == "ten_other"


def _made_no_job(response: Any) -> None:
    assert response.status_code == 201, response.text
    assert response.get_json()["data"]["job_ids"] == []


def _tried(response: Any) -> None:
    assert response.get_json()["data"]["matches"] is True


#: The check of the response, as in `SCOPE`.
EVENTS_IN: dict[tuple[str, str], Callable[[Any], None]] = {
    ("POST", EVENTS): _made_no_job,
    ("GET", EVENTS): _sees_nothing,
    ("GET", f"{EVENTS}/<event_id>"): _is_404,
    ("POST", SUBSCRIPTIONS): _made_one_of_its_own,
    ("GET", SUBSCRIPTIONS): _sees_nothing,
    ("POST", f"{SUBSCRIPTIONS}/test"): _tried,
    ("GET", SUBSCRIPTION): _is_404,
    ("PATCH", SUBSCRIPTION): _is_404,
    ("DELETE", SUBSCRIPTION): _is_404,
    ("POST", INBOUND): _made_one_of_its_own,
    ("GET", INBOUND): _sees_nothing,
    ("GET", INBOUND_HOOK): _is_404,
    ("PATCH", INBOUND_HOOK): _is_404,
    ("DELETE", INBOUND_HOOK): _is_404,
    ("POST", f"{INBOUND_HOOK}/rotate"): _is_404,
    ("POST", f"{INBOUND_HOOK}/test"): _is_404,
    ("POST", f"{INBOUND_HOOK}/replay"): _is_404,
    ("GET", f"{INBOUND_HOOK}/deliveries"): _is_404,
    ("GET", f"{INBOUND_HOOK}/deliveries/<delivery_id>"): _is_404,
    ("POST", f"{INBOUND_HOOK}/deliveries/<delivery_id>/replay"): _is_404,
}
EVENTS_IN_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", EVENTS): {"type": "order.paid", "data": 1},
    ("POST", SUBSCRIPTIONS): {"event_type": "order.paid", "worker_id": "wkr_open"},
    ("POST", f"{SUBSCRIPTIONS}/test"): {"event": {}},
    ("PATCH", SUBSCRIPTION): {"enabled": False},
    ("POST", INBOUND): {"name": "theirs", "provider": "github"},
    ("PATCH", INBOUND_HOOK): {"enabled": False},
    ("POST", f"{INBOUND_HOOK}/replay"): {"from": "2025-01-01T00:00:00Z"},
}
