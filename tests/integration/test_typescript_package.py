"""The package for TypeScript in Node, with an API that is a function in the same process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.system import ROOT
from tests import npm

#: A query that names a page does not compile: the client goes from page to page by a cursor.
_QUERIES = """
import { Ava, type JobQuery } from "./dist/index.js";
declare const ava: Ava;
export const query: JobQuery = { per_page: 2, "filter[status]": "failed" };
// @ts-expect-error
export const jobs = ava.jobs({ page: 2, per_page: 2 });
"""

Find = Callable[..., Any]

#: POSTs without an idempotency key that are the same when they are done twice.
_REPEATABLE = {
    *(f"/v1/ava/errors/{{error_id}}/{act}" for act in ("resolve", "ignore", "reopen")),
    *(f"/v1/ava/nodes/{{node_id}}/{act}" for act in ("drain", "resume")),
    *(f"/v1/ava/queues/{{queue}}/{act}" for act in ("pause", "resume")),
    *(f"/v1/ava/runs/{{run}}/{act}" for act in ("lines", "progress", "end")),
    "/v1/ava/jobs/{job_id}/cancel",
    "/v1/ava/operations/{operation_id}/abort",
    # A claim whose answer is lost has not begun.
    "/v1/ava/runs/claim",
    "/v1/ava/runs/heartbeat",
    "/v1/ava/schedules/preview",
}


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
    assert find("leaves_no_timer") == ["job_1", "unreachable", 204]


def test_a_post_is_repeated_with_one_key_or_where_twice_is_the_same_as_once(find: Find, openapi: str) -> None:
    posts = {path: one["post"] for path, one in json.loads(openapi)["paths"].items() if "post" in one}
    keyed = {path for path, post in posts.items() if "Idempotency-Key" in json.dumps(post.get("parameters", []))}
    found = find("repeats", json.dumps(list(posts)))
    assert found.pop("/own") == ["mine", "mine"]
    tries = {path.replace("%7B", "{").replace("%7D", "}"): keys for path, keys in found.items()}
    assert {path for path, keys in tries.items() if len(keys) == 2} == keyed | _REPEATABLE
    assert all(len(set(keys)) == 1 and keys[0] for path, keys in tries.items() if path in keyed)
    assert len({tries[path][0] for path in keyed}) == len(keyed)


def test_a_worker_that_has_given_a_run_back_keeps_no_process_alive(find: Find) -> None:
    assert find("gives_back") == [{"retry_later": 0, "reason": "the worker shut down"}]


def test_a_query_of_jobs_names_no_page(package: Path) -> None:
    (package / "queries.ts").write_text(_QUERIES)
    options = ("--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "--noEmit")
    npm.made("npx", "--no-install", "tsc", *options, "queries.ts", folder=package)


def test_a_key_with_a_line_end_is_refused_and_not_printed(find: Find) -> None:
    message = "TypeError: The API key contains a space, a line end or another invalid character."
    assert find("keys") == [["TypeError", message, False]] * 4


def test_an_id_that_could_call_another_route_is_refused_before_a_request(find: Find) -> None:
    found = find("ids")
    assert found == {"refused": [], "thrown": ["resource_not_found 404"], "paths": ["/v1/ava/jobs/job_1%3Fx%23.."]}


def test_a_webhook_is_unverified_without_a_secret(find: Find) -> None:
    assert find("unverified") == ["WebhookUnverified"] * 5
