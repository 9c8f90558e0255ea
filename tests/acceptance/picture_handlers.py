"""Handlers of a shop, for the pictures of the dashboard."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ava import Env, worker


@dataclass
class Invoice:
    invoice: str
    customer: str
    cents: int


@worker("send_invoice", name="Send an invoice", max_retries=2, timeout_seconds=60)
def send_invoice(input: Invoice, env: Env) -> dict[str, str]:
    """Renders an invoice and mails it to the customer."""
    env.log.info("Rendering invoice %s of %.2f EUR", input.invoice, input.cents / 100)
    time.sleep(0.05 + input.cents % 7 / 50)
    if input.cents % 13 == 0:
        raise ValueError(f"no address of customer {input.customer}")
    env.log.info("Sent to %s@example.com", input.customer)
    return {"sent_to": f"{input.customer}@example.com"}


@worker("resize_image", name="Resize an image", timeout_seconds=120)
def resize_image(input: dict[str, str], env: Env) -> dict[str, int]:
    """Makes a thumbnail of input.url."""
    env.log.info("Fetching %s", input["url"])
    time.sleep(0.1)
    return {"width": 640, "height": 400}


@worker("sync_crm", name="Sync the CRM", max_retries=1, max_running=1, rate="600/minute", queue="crm")
def sync_crm(input: dict[str, int], env: Env) -> dict[str, int]:
    """Copies an account to the CRM."""
    env.log.info("Account %d, attempt %d", input["account"], env.attempt)
    time.sleep(input.get("pause", 0.2))
    if input["account"] % 5 == 0:
        raise ConnectionError(f"crm.example.com does not answer for account {input['account']}")
    return {"account": input["account"]}


@worker("monthly_report", name="Monthly report", timeout_seconds=900, cancel_grace_seconds=20)
def monthly_report(input: dict[str, str], env: Env) -> dict[str, int]:
    """Adds up the month and writes a PDF."""
    env.log.info("Reading the bookings of %s", input["month"])
    for page in range(1, 1501):
        if page == 17:
            env.log.warning("Booking 20418 has no account; it is counted as 'other'")
        env.log.info("Page %d: %d bookings", page, 380 + page * 7 % 60)
        env.progress(page / 1500, f"page {page} of 1,500")
        time.sleep(0.4)
    return {"pages": 1500}


@worker("refund", name="Refund an order")
def refund(input: dict[str, int], env: Env) -> dict[str, bool]:
    """Asks a person, and refunds the order."""
    title = f"Refund order {input['order']}, {input['cents'] / 100:,.2f} EUR"
    decision = env.approve("refund", title, payload={**input, "reason": "arrived damaged"})
    return {"refunded": decision.approved}
