"""The messages of notices: their facts, which are stored as JSON, and their form in each channel.

A message has names, ids, the kind of an error, the title of an approval and one link, and no payload. Slack and Teams
get plain-text elements, where neither `<!channel>` nor Markdown has a meaning.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from urllib.parse import quote

from ava.domain.notices.notice import TEST, NoticeEvent
from ava.domain.record import format_time
from ava.domain.webhooks.webhook_events import Event

#: Max characters of a string that a user wrote.
_MAX_CHARACTERS = 200
#: The title of each event; its fields are facts.
_TITLES: Mapping[str, str] = {
    NoticeEvent.JOB_FAILED: "{kind} in {worker_id}: {jobs} failed",
    NoticeEvent.ERROR_OPENED: "New error in {worker_id}: {kind}",
    NoticeEvent.ERROR_REGRESSED: "Error is back in {worker_id}: {kind}",
    NoticeEvent.SCHEDULE_DISABLED: "Schedule disabled: {name}",
    NoticeEvent.WEBHOOK_DEGRADED: "Webhook degraded: {webhook_id}",
    NoticeEvent.BACKLOG: "Backlog in queue {queue}: the oldest job has waited for {oldest_seconds} s",
    NoticeEvent.APPROVAL_REQUESTED: "Approval requested: {title}",
    NoticeEvent.APPROVAL_REMINDED: "Approval still pending: {title}",
    NoticeEvent.CONTAINMENT_STARTED: "Containment started: {containment_id}",
    NoticeEvent.CONTAINMENT_COMPLETED: "Containment complete: {containment_id}",
    TEST: "Test of the notice {notice}",
}
#: The pages of the dashboard by the fact that names the record; the first fact that a message has decides.
_PAGES = {
    "approval_id": "approvals?id=",
    "containment_id": "containments?id=",
    "error_id": "errors?id=",
    "schedule_id": "schedules?id=",
    "webhook_id": "webhooks?id=",
    "queue": "queues/",
    "notice_id": "notices?id=",
}


def make_message_body(
    event: Event, facts: Mapping[str, str | int], *, notice_id: str, notice: str, count: int, public_url: str
) -> str:
    """Return a message as JSON: the body of the channel `webhook`, and the source of the other channels' messages.

    `count`: the events since the last message. `public_url`: without it the message has no link.
    """
    plain = {name: plain_text(value) if isinstance(value, str) else value for name, value in facts.items()}
    words = plain | {"notice": plain_text(notice), "jobs": "1 job" if count == 1 else f"{count:,} jobs"}
    # A fact that a caller has left out must not fail the message.
    title = _TITLES[event.type].format_map(_Words(words))
    if count > 1 and event.type != NoticeEvent.JOB_FAILED:
        title = f"{title} ({count:,} events)"
    # An approval's own title is a part of the message's.
    data: dict[str, str | int | None] = {**plain, "title": title, "count": count}
    data |= {"notice_id": notice_id, "notice": plain_text(notice)}
    data["link"] = _link(public_url, event.tenant_id, data)
    return json.dumps(
        {
            "id": event.id,
            "type": event.type,
            "created_at": format_time(event.created_at),
            "tenant_id": event.tenant_id,
            "data": data,
        },
        separators=(",", ":"),
    )


class _Words(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return f"({name})"


def plain_text(string: str) -> str:
    """Return a user's string in one line: without control and format characters, cut if it is long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in string[: 4 * _MAX_CHARACTERS]).split())
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def _link(public_url: str, tenant_id: str, data: Mapping[str, Any]) -> str | None:
    if not public_url:
        return None
    page = next((f"{page}{quote(str(data[name]), safe='')}" for name, page in _PAGES.items() if name in data), "")
    return f"{public_url}/?tenant={quote(tenant_id, safe='')}#/{page}"


def slack_json(message: Mapping[str, Any]) -> str:
    """Return the request of an incoming webhook of Slack."""
    data = message["data"]
    blocks: list[dict[str, Any]] = [_slack_section("plain_text", data["title"])]
    if data["link"]:
        # The link has nothing that a user wrote.
        blocks.append(_slack_section("mrkdwn", f"<{data['link']}|Open in AVA Jobs>"))
    return _compact(
        # Of notifications; there, too, Slack would read `<!channel>`.
        {
            "text": html.escape(data["title"], quote=False),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "blocks": blocks,
        }
    )


def _slack_section(kind: str, text: str) -> dict[str, Any]:
    options = {"emoji": False} if kind == "plain_text" else {"verbatim": True}
    return {"type": "section", "text": {"type": kind, "text": text, **options}}


def teams_json(message: Mapping[str, Any]) -> str:
    """Return the request of a workflow of Teams: an adaptive card. Its runs have no Markdown and no mentions."""
    data = message["data"]
    title = {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": data["title"], "weight": "Bolder"}]}
    open_url = {"type": "Action.OpenUrl", "title": "Open in AVA Jobs", "url": data["link"]}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title],
        "actions": [open_url] if data["link"] else [],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return _compact({"type": "message", "attachments": [attachment]})


def mail_of(message: Mapping[str, Any], *, sender: str, recipients: str) -> EmailMessage:
    """Return the mail of a message: plain text, with the event's id as its own."""
    data = message["data"]
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = data["title"]
    mail["From"], mail["To"] = sender, recipients
    mail["Message-ID"] = f"<{message['id']}@{sender.rpartition('@')[2]}>"
    # So that no mailbox answers automatically.
    mail["Auto-Submitted"] = "auto-generated"
    lines = [data["title"], *([data["link"]] if data["link"] else []), f"Notice: {data['notice']}"]
    mail.set_content("\n\n".join(lines) + "\n")
    return mail


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
