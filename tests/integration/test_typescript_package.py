"""The package for TypeScript in Node, with an API that is a function in the same process."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ava.client import Client
from harness.system import ROOT
from tests import npm
from tests.client_resources import resources_of

#: Types of the package: a query names no page, and a status that a newer server sends is a string too.
_TYPES = """
import { Client, type Job, type JobQuery } from "./dist/index.js";
declare const client: Client;
declare const job: Job;
export const query: JobQuery = { perPage: 2, status: "failed", tags: { team: "a" } };
// @ts-expect-error
export const pages = client.jobs.list({ page: 2, perPage: 2 });
// @ts-expect-error
export const unknown = client.jobs.list({ status: "hibernating" });
export const isNew: boolean = job.status === "hibernating";
export const status: string = job.status === "queued" ? job.workerId : job.status;
export const input: { [key: string]: unknown } | null = job.input;
const expiry = { expiresInSeconds: 60, priority: 1 };
export const trigger = (): Promise<Job> => client.jobs.trigger("wkr_1", { user_id: 1 }, expiry);
// @ts-expect-error
export const misspelt = () => client.jobs.trigger("wkr_1", {}, { expires_in_seconds: 60 });
const settings = { config: { A_B: "c" }, retry: { max: 3 }, timeoutSeconds: 5 };
export const update = () => client.workers.update("wkr_1", settings);
"""

Find = Callable[..., Any]
_METHODS = {"get", "post", "put", "patch", "delete"}

_PAUSABLE = (
    *("nodes/{node_id}", "queues/{queue}", "schedules/{schedule_id}", "workers/{worker_id}"),
    *("subscriptions/{subscription_id}", "hooks/{hook_id}", "notices/{notice_id}"),
)
#: POSTs without an idempotency key that are the same when they are done twice.
_REPEATABLE = {
    *(f"/v1/ava/approvals/{{approval_id}}/{act}" for act in ("approve", "deny")),
    *(f"/v1/ava/errors/{{error_id}}/{act}" for act in ("resolve", "ignore", "reopen")),
    *(f"/v1/ava/{path}/{act}" for path in _PAUSABLE for act in ("pause", "resume")),
    *(f"/v1/webhooks/{{webhook_id}}/{act}" for act in ("pause", "resume")),
    *(f"/v1/ava/runs/{{run}}/{act}" for act in ("lines", "progress", "end", "steps", "children", "outputs")),
    "/v1/ava/jobs/{job_id}/cancel",
    "/v1/ava/operations/{operation_id}/abort",
    # A claim whose response is lost has not begun.
    "/v1/ava/runs/claim",
    "/v1/ava/runs/heartbeat",
    "/v1/ava/schedules/preview",
}


#: Fields whose schema is any object, but which are records with fields of their own.
_RECORDS = {"filter", "job", "platform", "progress", "result", "retry", "scope", "waiting_for", "by_worker"}
#: Operations that are no method: those of pull workers, of a browser's session and of a sender to a hook, and the
#: download of a log, which `jobs.logs` reads.
_NO_METHODS = {
    "post /v1/hooks/{}",
    "get /v1/ava/jobs/{}/logs/download",
    *(f"post /v1/ava/runs/{act}" for act in ("claim", "heartbeat")),
    *(f"post /v1/ava/runs/{{}}/{act}" for act in ("lines", "progress", "end", "steps", "children", "outputs")),
    "get /v1/ava/runs/{}/journal",
    *(f"{method} /v1/ava/session" for method in ("post", "get", "patch", "delete")),
    # `containments.wait` asks for the record instead, as in Python.
    "get /v1/ava/containments/{}/stream",
}
#: What a method reads that is no operation of the API.
_BESIDE = {"get /.well-known/ava-signing-keys"}


@pytest.fixture(scope="module")
def openapi() -> str:
    return npm.made(sys.executable, "-m", "tools.openapi", folder=ROOT)


@pytest.fixture(scope="module")
def package(openapi: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typescript") / "package"
    npm.build_client(folder, openapi.encode())
    shutil.copy(npm.SOURCES / "package.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def find(package: Path) -> Find:
    """Returns what a case of `package.mjs` finds."""
    return lambda *case: json.loads(npm.made("node", "--expose-gc", "package.mjs", *case, folder=package))


def test_a_handler_is_called_once_the_server_knows_that_its_run_begins(find: Find) -> None:
    found = find("begins")
    assert found["heartbeats"] == [["a", "b", "c"], ["a", "b", "c"]]
    # The second run is to stop, and the third is lost.
    assert found["began"] == [[2, False], [2, True]]


def test_the_time_of_a_call_ends_it_after_garbage_was_collected(find: Find) -> None:
    assert find("times_out") == ["unreachable", "unreachable"]


@pytest.mark.timeout(120)
def test_a_call_that_has_ended_keeps_no_process_alive(find: Find) -> None:
    assert find("leaves_no_timer") == ["job_1", ["ApiError", 0], ["ApiError", 0]]


def test_a_post_is_repeated_with_one_key_or_where_twice_is_the_same_as_once(find: Find, openapi: str) -> None:
    posts = {path: one["post"] for path, one in json.loads(openapi)["paths"].items() if "post" in one}
    keyed = {path for path, post in posts.items() if "Idempotency-Key" in json.dumps(post.get("parameters", []))}
    tries = find("repeats", json.dumps(list(posts)))
    assert tries.pop("/own") == ["mine", "mine"]
    assert {path for path, keys in tries.items() if len(keys) == 2} == keyed | _REPEATABLE
    assert all(len(set(keys)) == 1 and keys[0] for path, keys in tries.items() if path in keyed)
    assert len({tries[path][0] for path in keyed}) == len(keyed)


def test_a_worker_that_has_given_a_run_back_keeps_no_process_alive(find: Find) -> None:
    assert find("gives_back") == [{"retry_later_seconds": 0, "reason": "the worker shut down"}]


def test_types_have_the_fields_of_requests_and_responses_in_camel_case(package: Path) -> None:
    (package / "types.ts").write_text(_TYPES)
    options = ("--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "--noEmit")
    npm.made("npx", "--no-install", "tsc", *options, "types.ts", folder=package)


def _without_ids(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_every_operation_of_the_api_is_a_method_of_a_resource(find: Find, openapi: str) -> None:
    paths = {_without_ids(path): one for path, one in json.loads(openapi)["paths"].items()}
    operations = {f"{method} {path}" for path, one in paths.items() for method in one if method in _METHODS}
    arrays = [path for path, one in paths.items() if '"data": {"type": "array"' in json.dumps(one.get("get", {}))]
    called = {f"{call.split(' ')[0].lower()} {call.split(' ')[1]}" for call in find("operations", json.dumps(arrays))}
    assert called == operations - _NO_METHODS | _BESIDE


def test_resources_and_methods_have_the_names_of_the_python_client(find: Find) -> None:
    client = Client("http://api", api_key="ava_00.x")
    python = resources_of(client)
    methods = {name: {_camel(each) for each in dir(type(one)) if each[0] != "_"} for name, one in python.items()}
    # A bridge to agents is a process in Python, and an entry of a bulk is a plain object.
    del methods["mcp"]
    methods["jobs"].remove("entry")
    assert {name: set(each) for name, each in find("methods").items()} == methods


def test_fields_are_converted_at_the_edge_and_payloads_never(find: Find) -> None:
    found = find("names")
    input = {"user_id": 1, "nestedField": [{"a_b": 2}]}
    awaited = {"jobIds": ["job_2"], "event": {"type": "x", "match": {"e_f": [1]}}}
    job = {"id": "job_1", "status": "hibernating", "workerId": "wkr_1", "input": input, "output": {"ok_1": {"c_d": 3}}}
    assert found["sent"] == job | {"tags": {"a_b": "c"}, "waitingFor": awaited, "payloadHidden": True}
    body = {"worker_id": "wkr_1", "input": input, "scheduled_at": "2026-01-01T00:00:00Z", "tags": {"a_b": "c"}}
    query = {"filter[worker_id]": "wkr_1", "filter[tag.a_b]": "c", "filter[input.account.user_id]": "17"}
    query |= {"per_page": "2", "sort": "-duration"}
    dedupe = {"dedupe": {"key": "k", "mode": "return"}}
    assert found["calls"] == [body | dedupe, query, query | {"cursor": "c1"}, {"group_by": "day"}]
    assert (found["listed"], found["byWorker"]) == (2, {"wkr_a_b": {"avgMs": 1}})


def test_every_field_of_the_api_has_one_form_and_each_payload_is_known_as_one(find: Find, openapi: str) -> None:
    schemas = {name: one for name, one in json.loads(openapi)["components"]["schemas"].items() if name != "Error"}
    fields = list(_fields({"anyOf": list(schemas.values())}))
    payloads = {name for name, schema in fields if _is_any(schema)} - _RECORDS
    records = {name for name, schema in fields if "$ref" in json.dumps(schema)} | _RECORDS
    assert not payloads & records
    names = {name: _camel(name) for name, _ in fields}
    sent = {camel: {"a": {"kLm": 1}} for camel in names.values()}
    received = {name: {"a": {"k_lm": 1}} for name in names}
    found = find("wire", json.dumps({"sent": sent, "received": received}))
    assert found["sent"].keys() == names.keys()
    assert found["received"].keys() == set(names.values())
    for name, camel in names.items():
        is_unchanged = [found["sent"][name] == sent[camel], found["received"][camel] == received[name]]
        assert name not in payloads or is_unchanged == [True, True], name
        assert name not in records or is_unchanged == [False, False], name


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in [*schema.get("anyOf", []), *schema.get("oneOf", []), *([schema["items"]] if "items" in schema else [])]:
        yield from _fields(each)
    for name, each in schema.get("properties", {}).items():
        yield name, each
        yield from _fields(each)


def _is_any(schema: dict[str, Any]) -> bool:
    is_open = not schema.keys() & {"properties", "anyOf", "oneOf", "enum", "$ref", "const", "items"}
    return is_open and ("type" not in schema or "object" in schema["type"])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def test_a_list_fetches_its_pages_by_cursor_or_by_number(find: Find) -> None:
    assert find("pages") == {
        "cursor": [2, [{"per_page": "100"}, {"per_page": "100", "cursor": "c"}]],
        "number": [2, [{"per_page": "100"}, {"per_page": "100", "page": "2"}]],
        "none": [1, [{"per_page": "100"}]],
    }


def test_a_wait_gives_up_if_the_api_fails_itself_and_waits_out_an_outage(find: Find) -> None:
    assert find("gives_up") == {
        "wait": [["ApiError", 500], 3],
        "events": [["ApiError", 500], 3],
        "status": "completed",
        "late": ["WaitTimeout", None],
    }


def test_an_aborted_signal_ends_every_call(find: Find) -> None:
    assert find("aborts") == {"ended": ["TimeoutError,true"], "calls": 0}


def test_a_key_with_a_line_end_is_refused_and_not_printed(find: Find) -> None:
    message = "TypeError: The API key contains a space, a line end or another invalid character."
    assert find("keys") == [["TypeError", message, False]] * 4


def test_an_id_that_could_call_another_route_is_refused_before_a_request(find: Find) -> None:
    found = find("ids")
    assert found == {"refused": [], "thrown": ["resource_not_found 404"], "paths": ["/v1/ava/workers/wkr_1%20%40x"]}


def test_a_webhook_is_unverified_without_a_secret(find: Find) -> None:
    assert find("unverified") == ["WebhookUnverified"] * 5
