"""Post an incident to a Slack channel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ava import Env, worker
from ava.domain.outbound.outbound_url import MAX_URL_CHARS
from ava.errors import OutboundFailed
from ava.outbound.http import HttpResponse, send
from workers import outbound
from workers.inputs import Input, optional_string, refuse_unknown, string

_TIMEOUT_SECONDS = 20.0
_LONGEST_DETAIL = 3_000
_SETTING = "AVA_WORKER_INCIDENT_NOTIFY_SLACK_WEBHOOK_URL"
# The fields of an incident, and their names in incident systems.
_DETAILS = {
    "title": ("title", "summary", "name"),
    "severity": ("severity", "priority", "urgency"),
    "message": ("message", "description"),
}


@worker(
    "incident_notify",
    name="Incident notify",
    description=(
        "Posts incident input.incident_id to input.channel through the Slack webhook SLACK_WEBHOOK_URL of its "
        "configuration. title, severity and message come from the input, or from the JSON at input.incident_url."
    ),
    timeout_seconds=120,
    max_retries=1,
    input_schema={
        "type": "object",
        "properties": {
            "incident_id": {"type": "string", "minLength": 1, "description": "Such as inc_01hxyz."},
            "channel": {"type": "string", "minLength": 1, "description": "Such as #security-ops."},
            "title": {"type": ["string", "null"], "maxLength": _LONGEST_DETAIL},
            "severity": {"type": ["string", "null"], "maxLength": _LONGEST_DETAIL},
            "message": {"type": ["string", "null"], "maxLength": _LONGEST_DETAIL},
            "incident_url": {
                "type": ["string", "null"],
                "maxLength": MAX_URL_CHARS,
                "description": "URL of the incident as JSON.",
            },
        },
        "required": ["incident_id", "channel"],
        "additionalProperties": False,
    },
)
def incident_notify(input: Input, env: Env) -> dict[str, Any]:
    """Post a message about an incident; without a configured webhook, log the message instead."""
    refuse_unknown(input, "incident_id", "channel", "title", "severity", "message", "incident_url")
    incident_id = string(input, "incident_id", example="inc_01hxyz", pattern=r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
    channel = string(input, "channel", example="#security-ops", pattern=r"[#@]?[\w][\w.-]{0,79}")
    given = {name: optional_string(input, name, longest=_LONGEST_DETAIL) for name in _DETAILS}
    details = _incident(_incident_url(input, incident_id, env), incident_id, env) | _without_blanks(given)
    message = _message(incident_id, details)
    webhook_url = env.get("SLACK_WEBHOOK_URL", "").strip()
    if not webhook_url:
        env.log.warning("No Slack webhook is configured (%s is not set), so nothing is sent", _SETTING)
        env.log.info("Message for %s: %s", channel, message)
        return {"sent": False, "channel": channel, "incident_id": incident_id, "text": message}
    receipt = _post(webhook_url, channel, message)
    env.log.info("Slack message sent: %s", receipt)
    return {"sent": True, "channel": channel, "incident_id": incident_id, "receipt": receipt}


def _incident_url(given: Input, incident_id: str, env: Env) -> str:
    """Return the incident's URL: the input's, or the configured INCIDENT_URL with `{incident_id}` filled in."""
    configured = env.get("INCIDENT_URL", "").replace("{incident_id}", quote(incident_id, safe=""))
    return optional_string(given, "incident_url", default=configured, longest=MAX_URL_CHARS)


def _incident(url: str, incident_id: str, env: Env) -> dict[str, str]:
    env.log.info("Fetching incident %s", incident_id)
    if not url:
        env.log.info("No incident_url is given, so the message contains only the input")
        return {}
    limits = outbound.limits(timeout_seconds=_TIMEOUT_SECONDS, max_bytes=1_000_000)
    response = send("GET", url, headers={"Accept": "application/json"}, limits=limits)
    if response.status != 200:
        raise OutboundFailed(
            f"The incident's URL answered {response.status}; it must answer 200 with the incident as JSON."
        )
    return _details(_parsed(response))


def _parsed(response: HttpResponse) -> Mapping[str, Any]:
    try:
        incident = json.loads(response.body)
    except (ValueError, RecursionError):
        incident = None
    # Many APIs, including this service, wrap the resource in `data`.
    if isinstance(incident, dict) and isinstance(incident.get("data"), dict):
        incident = incident["data"]
    if not isinstance(incident, dict):
        raise OutboundFailed("The incident's URL did not answer with a JSON object; it must answer with the incident.")
    return incident


def _details(incident: Mapping[str, Any]) -> dict[str, str]:
    found = {
        name: next((incident[key] for key in keys if isinstance(incident.get(key), str | int | float)), "")
        for name, keys in _DETAILS.items()
    }
    return _without_blanks({name: _printable(str(value)[:_LONGEST_DETAIL]) for name, value in found.items()})


def _printable(value: str) -> str:
    return "".join(character for character in value if character.isprintable() or character == "\n")


def _without_blanks(details: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in details.items() if value.strip()}


def _message(incident_id: str, details: Mapping[str, str]) -> str:
    severity = f"[{details['severity']}] " if "severity" in details else ""
    headline = f"{severity}Incident {incident_id}" + (f": {details['title']}" if "title" in details else "")
    return "\n".join([headline, details["message"]] if "message" in details else [headline])


def _post(webhook_url: str, channel: str, message: str) -> str:
    payload = {"channel": channel, "text": _without_markup(message)}
    response = send(
        "POST",
        webhook_url,
        headers={"Content-Type": "application/json"},
        body=json.dumps(payload).encode(),
        limits=outbound.limits(timeout_seconds=_TIMEOUT_SECONDS, max_bytes=10_000),
    )
    if not 200 <= response.status < 300:
        raise OutboundFailed(
            f"The Slack webhook answered {response.status} ({_line(response)}); check {_SETTING} and the channel "
            f"{channel}."
        )
    return _receipt(response)


def _without_markup(message: str) -> str:
    """Escape Slack's markup: Slack obeys `<!channel>` and `<https://…|text>` in an incident's text."""
    return message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _receipt(response: HttpResponse) -> str:
    """Return the Slack message's timestamp from the response; without one, its first line, usually `ok`."""
    try:
        stamp = json.loads(response.body)["ts"]
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return _line(response)
    return str(stamp)[:80]


def _line(response: HttpResponse) -> str:
    line = " ".join(response.body[:400].decode(errors="replace").split())
    return _printable(line)[:120] or "no text"
