"""The page of webhooks in a real browser."""

from __future__ import annotations

from harness.system import System
from tests.browser import Browser


def test_a_webhook_is_created_tested_paused_changed_and_deleted(signed_in: Browser, running: System) -> None:
    signed_in.go("#/webhooks")
    signed_in.click("button", "New webhook")
    signed_in.fill("url", f"{running.url}/livez")
    signed_in.fill("secret", "a-secret-of-the-tests")
    signed_in.click("button", "Create")
    signed_in.await_text(f"{running.url}/livez", "active", "ava.job.completed")
    signed_in.click("button", "Test")
    signed_in.await_text("webhook.test", "pending")
    # Its sender does not run, so a request is written here.
    running.query(
        'UPDATE webhook_deliveries SET history = \'[{"number": 1, "at": "2026-01-01T00:00:00Z", "status": 500}]\''
    )
    signed_in.click(".delivery summary")
    signed_in.await_text('"type": "ava.webhook.test"', "1. status 500")
    signed_in.click("button", f"Pause {running.url}/livez")
    signed_in.fill("reason", "the receiver moves")
    signed_in.click("button", "Pause")
    signed_in.await_text("Paused by usr_test", ": the receiver moves", "No events are sent to it while it is paused.")
    signed_in.click("button", f"Resume {running.url}/livez")
    signed_in.find("button", f"Pause {running.url}/livez")
    signed_in.await_text("active")
    signed_in.click("button", "Edit")
    signed_in.fill("url", f"{running.url}/readyz")
    signed_in.click("input[name='ava.job.failed']")
    signed_in.click("button", "Save")
    signed_in.await_text(f"{running.url}/readyz", "ava.job.completed, ava.job.cancelled")
    signed_in.fill("status", "Delivered")
    signed_in.click("button", "Redeliver many …")
    signed_in.fill("event_type", "ava.job.failed")
    signed_in.click("button", "Send again")
    signed_in.await_text("0 deliveries queued again.")
    signed_in.click("button", "Delete")
    signed_in.click("button", "Delete webhook")
    signed_in.await_text("No webhooks yet.")
