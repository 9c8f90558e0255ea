"""The pages of hooks and of subscriptions in a real browser, with real senders."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import requests
from standardwebhooks.webhooks import Webhook

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.dashboard.test_dashboard import open_part, rows_of
from tests.browser import Browser
from tests.commands import ava, on_a_terminal

SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"

READ = "return performance.getEntriesByType('resource').map(({ name }) => name).join(' ')"


def test_a_hook_is_made_receives_is_tested_replayed_and_deleted(signed_in: Browser, running: System) -> None:
    signed_in.go("#/hooks")
    signed_in.click("button", "New hook")
    signed_in.fill("name", "pulls")
    signed_in.fill("provider", "Standard Webhooks")
    signed_in.fill("worker_id", "Jobs of <b>Echo</b>")
    signed_in.click("button", "Create")
    signed_in.await_text("The hook is ready", "Give the sender the URL and the secret below.")
    url = signed_in.script("return document.querySelector('[name=URL]').value")
    secret = signed_in.script("return document.querySelector('[name=Secret]').value")
    signed_in.click("button", "Done")
    body = json.dumps({"type": "order.paid", "number": 7})
    at = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, body),
    }
    answers = [requests.post(url, data=body, headers=headers, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    first, again = (answer.json()["data"] for answer in answers)
    assert again == {**first, "duplicate": True}
    signed_in.await_text("accepted", "duplicate", "standard.order.paid")
    record = running.wait_for(first["job_ids"][0], "completed")
    assert (record["trigger"], record["input"]["event"]["data"]["number"]) == ("webhook", 7)
    signed_in.click("button", "Test …")
    signed_in.fill("mode", "Changed after signing")
    signed_in.click("button", "Send")
    signed_in.await_text("The sender gets status 401. The signature is wrong")
    signed_in.click("dialog button", "Close")
    signed_in.await_text("refused")
    signed_in.click(".delivery [data-state=refused]")
    signed_in.await_text("webhook-signature")
    signed_in.fill("status", "Accepted")
    wait_until(lambda: "The signature is wrong" not in signed_in.text, what="the refused one is not shown")
    signed_in.click(".delivery [data-state=accepted]")
    signed_in.click("button", "Replay")
    signed_in.await_text("Replayed: 1 job.")
    signed_in.click("button", "Delete")
    signed_in.click("button", "Delete hook")
    signed_in.await_text("No hooks yet.")
    assert requests.post(url, data=body, headers=headers, timeout=30).status_code in (202, 404)
    wait_until(
        lambda: requests.post(url, data=body, headers=headers, timeout=30).status_code == 404,
        seconds=5,
        what="the address is unknown",
    )
    # Nothing of what was deleted is read again, or the browser would log an error.
    signed_in.script("performance.clearResourceTimings()")
    wait_until(lambda: "/v1/ava/hooks?" in signed_in.script(READ), what="the list is read again")
    assert "/deliveries" not in signed_in.script(READ)


def test_a_pattern_is_tried_while_it_is_typed_and_our_own_webhook_makes_a_job_by_a_hook(
    signed_in: Browser, running: System
) -> None:
    signed_in.go("#/subscriptions")
    signed_in.await_text("The event matches. The job's input:", '"number": 7')
    signed_in.fill("event", '{"type": "order.paid", "data": {"total": 5}}')
    signed_in.await_text('data.total: 5 does not match [{"numeric": [">", 100]}]')
    hook = {"name": "ours", "provider": "standard", "secret": SECRET}
    made = running.post("/v1/ava/hooks", json=hook).json()["data"]
    signed_in.click("button", "New subscription")
    signed_in.fill("type", "standard.ava.job.*")
    signed_in.fill("worker", "<b>Echo</b>")
    signed_in.click("button", "Create")
    signed_in.await_text("standard.ava.job.*")
    endpoint = {"url": made["url"], "events": ["ava.job.completed"], "secret": SECRET}
    webhook = running.post("/v1/webhooks", json=endpoint).json()["data"]["id"]
    running.senders.append(running.spawn("webhooks"))
    try:
        job = running.trigger("wkr_echo", input={"text": "out and in"})
        running.wait_for(job["id"], "completed")
        event = wait_until(lambda: _event_of(running, job["id"]), seconds=30, what="the webhook is an event")
        assert event["source"] == f"/hooks/{made['id']}"
        echo = running.wait_for(event["job_ids"][0], "completed")
        assert echo["input"]["event"]["data"]["data"]["input"] == {"text": "out and in"}
        signed_in.go("#/events")
        signed_in.await_text("standard.ava.job.completed")
    finally:
        # Each job that ends sends another webhook, so the circle is cut.
        running.request("DELETE", f"/v1/webhooks/{webhook}")
        running.senders.pop().terminate()
        running.request("DELETE", f"/v1/ava/hooks/{made['id']}")


def test_the_sender_of_an_event_sees_which_jobs_waited_for_it(signed_in: Browser, running: System) -> None:
    job = running.trigger("wkr_approved", input={"order": "A-17"})["id"]
    wait_until(lambda: (running.show(job)["waiting_for"] or {}).get("event"), seconds=30, what="it waits for the event")
    event = {"type": "order.approved", "data": {"order": "A-17", "by": "Ada"}}
    sent = running.post("/v1/ava/events", json=event).json()["data"]
    assert running.wait_for(job, "completed")["output"] == "Ada"
    signed_in.go("#/events")
    signed_in.await_text("order.approved", "woke")
    signed_in.click(f"[data-event='{sent['id']}']")
    signed_in.find(f"dd a[href='#/jobs/{job}']")
    signed_in.await_text('"by": "Ada"')
    shown = json.loads(ava(running, "events", "show", sent["id"]).stdout)
    assert (shown["job_ids"], shown["woken_job_ids"]) == ([], [job])
    code, output = on_a_terminal(running, "events", "list", "--type", "order.approved")
    assert (code, "WOKEN" in output) == (0, True)
    entries = running.get(f"/v1/ava/jobs/{job}/journal").json()["data"]
    assert [(entry["kind"], entry["state"]) for entry in entries] == [("sleep", "done"), ("event", "done")]
    signed_in.go(f"#/jobs/{job}")
    names = ["Run 1", "Wait: sleep", "Run 2", "Wait: event order.approved", "Run 3"]
    wait_until(lambda: [name for name, _ in rows_of(signed_in)] == names, what=lambda: rows_of(signed_in))
    # The duration of its runs and the total time, which has the sleep.
    open_part(signed_in, "runs")
    ran = "return document.querySelector('.job-part[data-part=runs] dl').innerText"
    wait_until(
        lambda: re.search(r"Ran\s+\d+ ms of \d+(\.\d)? s", signed_in.script(ran)),
        what=lambda: signed_in.script(ran),
    )


def _event_of(system: System, job_id: str) -> dict[str, object] | None:
    found = system.get("/v1/ava/events?filter[type]=standard.ava.job.completed").json()["data"]
    return next((event for event in found if event["data"]["data"]["id"] == job_id), None)
