"""`make resources`: write `docs/reference/resources.md` from OpenAPI; `--check` compares it with the routes.

Each verb that a resource does not have needs a reason here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.openapi import description
from tools.pages import wrapped

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "resources.md"
VERBS = ("create", "list", "show", "update", "delete", "pause", "resume")
_HEAD = """# Resources and verbs

Every resource of the API with its verbs, from OpenAPI; `make resources` writes this page. A verb has
one route wherever it exists: `create` is `POST` and `list` is `GET` of the resource, `show` is `GET`,
`update` is `PATCH` and `delete` is `DELETE` of a record, `pause` and `resume` are `POST …/:id/pause` and
`…/resume` ([form](api.md#pause-and-resume)). *Further* has the other routes, below a record unless they
begin with `/`.

"""
#: Routes of senders and workers that have a token instead of a caller.
_WITHOUT_CALLER = ("/v1/hooks/", "/v1/ava/runs/")
#: Resources of which a caller has one. Their routes have no id.
_SINGLE = ("session", "overview", "analytics", "series")
_PAUSE = ("pause", "resume")
_RETENTION = "retention deletes it"
_REPORT = dict.fromkeys(("create", "list", "update", "delete", *_PAUSE), "it is computed when it is read")
#: Why a resource does not have a verb.
REASONS: dict[str, dict[str, str]] = {
    "jobs": {"delete": _RETENTION} | dict.fromkeys(_PAUSE, "pause its worker or its queue"),
    "schedules": {},
    "workers": {},
    "queues": {
        "create": "a worker names its queue",
        "show": "`list` has all fields of each queue",
        "update": "its limits belong to workers and tenants",
        "delete": "it ends with the last worker that names it",
    },
    "nodes": {
        "create": "a process that starts is a node",
        "show": "`list` has all fields of each node",
        "update": "its options are those of its process",
        "delete": "it ends with its process",
    },
    "webhooks": {},
    "notices": {},
    "subscriptions": {},
    "hooks": {},
    "deliveries": {
        "create": "a request to a hook, or an event of a webhook or a notice, creates it",
        "update": "it is a record of what happened",
        "delete": _RETENTION,
        **dict.fromkeys(_PAUSE, "pause its hook, webhook or notice"),
    },
    "containments": {
        "update": "contain another scope, then lift this one",
        "delete": "`lift` ends it, and " + _RETENTION,
        **dict.fromkeys(_PAUSE, "`lift` ends it"),
    },
    "events": {
        "update": "it is a record of what happened",
        "delete": _RETENTION,
        **dict.fromkeys(_PAUSE, "pause the subscriptions"),
    },
    "operations": {
        "create": "`POST /v1/ava/jobs/retry` and `cancel`, and `retry` of an error, create it",
        "update": "only `abort` changes it",
        "delete": _RETENTION,
        **dict.fromkeys(_PAUSE, "`abort` ends it"),
    },
    "approvals": {
        "create": "a job creates it, by `env.approve`",
        "update": "`approve` and `deny` decide it",
        "delete": "retention deletes it with its job",
        **dict.fromkeys(_PAUSE, "it holds nothing while it is pending"),
    },
    "errors": {
        "create": "a failed job creates it",
        "update": "`resolve`, `ignore` and `reopen` change its status",
        "delete": _RETENTION,
        **dict.fromkeys(_PAUSE, "pause the worker whose jobs fail"),
    },
    "keys": {
        "show": "`list` has all fields of each key",
        "update": "create another key, then delete this one",
        **dict.fromkeys(_PAUSE, "a key that must not be used is deleted"),
    },
    "session": {"list": "a caller has one"} | dict.fromkeys(_PAUSE, "delete it"),
    "sessions": {
        **dict.fromkeys(("create", "list", "show", "update"), "a browser has each; `session` is the caller's"),
        **dict.fromkeys(_PAUSE, "delete them"),
    },
    "tenants": {
        **dict.fromkeys(("create", "delete"), "the platform owns the tenants; its first request creates one here"),
        **dict.fromkeys(("show", "update"), "its settings are `limits`"),
        **dict.fromkeys(_PAUSE, "pause its workers, or set its `max_running` to 0"),
    },
    "limits": {
        **dict.fromkeys(("create", "delete"), "the code defines the limits"),
        "show": "`list` has all fields of each limit",
        "update": "settings of the installation and of tenants change them",
        **dict.fromkeys(_PAUSE, "a limit always holds"),
    },
    "overview": _REPORT,
    "analytics": _REPORT,
    "series": _REPORT,
    "audit": {
        **dict.fromkeys(("create", "update"), "each request that may change something is recorded once"),
        "show": "`list` has all fields of each entry",
        "delete": _RETENTION,
        **dict.fromkeys(_PAUSE, "it always records"),
    },
    "promotions": {
        **dict.fromkeys(("create", "update"), "a dispatcher records each promotion of a standby"),
        "show": "`list` has all fields of each promotion",
        "delete": "there are few",
        **dict.fromkeys(_PAUSE, "it always records"),
    },
}


def verb_of(method: str, path: str) -> tuple[str, str]:
    """Return the resource of a route, and its verb, or the further route as it is shown."""
    resource, *rest = path.removeprefix("/v1").removeprefix("/ava").strip("/").split("/")
    if len(rest) > 1 and rest[1] == "deliveries":
        resource, rest = "deliveries", rest[2:]
    names = [part for part in rest if not part.startswith("{")]
    has_id = bool(rest) and rest[0].startswith("{")
    if names in (["pause"], ["resume"]):
        return resource, names[0]
    if names:
        return resource, f"`{'' if has_id else '/'}{'/'.join(names)}`"
    of_record = {"GET": "show", "PATCH": "update", "DELETE": "delete"}
    if has_id or resource in _SINGLE or method == "DELETE":
        return resource, of_record.get(method, "create")
    return resource, {"POST": "create", "GET": "list"}[method]


def resources() -> dict[str, list[str]]:
    """Return the verbs and further routes of each resource, in the order of `REASONS`."""
    found: dict[str, list[str]] = {name: [] for name in REASONS}
    for path, methods in description()["paths"].items():
        for method in () if path.startswith(_WITHOUT_CALLER) else methods:
            resource, verb = verb_of(method.upper(), path)
            if verb not in found.setdefault(resource, []):
                found[resource].append(verb)
    return found


def contradictions(found: dict[str, list[str]]) -> Iterator[str]:
    """Yield each missing verb without a reason, and each reason for a verb that exists."""
    for resource, verbs in found.items():
        reasons = REASONS.get(resource, {})
        for verb in VERBS:
            if (verb in verbs) is (verb in reasons):
                yield f"{resource}: {verb} {'has a reason to be missing' if verb in verbs else 'needs a reason'}"


def page(found: dict[str, list[str]]) -> str:
    """Return the whole page."""
    lines = [f"| resource | {' | '.join(VERBS)} | further |", "|---" * (len(VERBS) + 2) + "|"]
    for resource, verbs in found.items():
        cells = ("✓" if verb in verbs else "–" for verb in VERBS)
        further = ", ".join(sorted(verb for verb in verbs if verb not in VERBS))
        lines.append(f"| `{resource}` | {' | '.join(cells)} | {further} |")
    lines += ["", "## Why is a verb missing?", "", "| resource | verb | reason |", "|---|---|---|"]
    lines += (f"| `{resource}` | {verbs} | {reason} |" for resource in found for verbs, reason in _grouped(resource))
    return wrapped(_HEAD + "\n".join(lines) + "\n")


def _grouped(resource: str) -> Iterable[tuple[str, str]]:
    """Return the reasons of a resource, each with all its verbs."""
    by_reason: dict[str, list[str]] = {}
    for verb in VERBS:
        if reason := REASONS[resource].get(verb):
            by_reason.setdefault(reason, []).append(verb)
    return ((", ".join(verbs), reason) for reason, verbs in by_reason.items())


def main() -> int:
    """Write the page, or with `--check` return 1 if it differs."""
    found = resources()
    if wrong := list(contradictions(found)):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    markdown = page(found)
    if "--check" not in sys.argv:
        PAGE.write_text(markdown)
    elif PAGE.read_text() != markdown:
        print(f"{PAGE}: it differs from the routes; run `make resources`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
