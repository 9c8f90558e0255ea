"""The OpenAPI description is true: schemathesis finds no failure, and every operation is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from harness.api import HEADERS, Api
from harness.system import System
from tests.unit.project.test_openapi import schemas_in

CONFIG = Path(__file__).with_name("schemathesis.toml")
#: Random examples per operation, beside those for every constraint of the schemas; `chaos.fuzz` makes many more.
EXAMPLES = "2"
#: The prefixes of ids in paths.
_PREFIXES = {"job_id": "job", "schedule_id": "sch", "operation_id": "op", "tenant_id": "ten", "webhook_id": "wh"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_schemathesis_finds_no_failure(system: System, tmp_path: Path) -> None:
    """The caller is a key: `test_callers_matrix.py` calls every operation with headers."""
    pytest.importorskip("schemathesis", reason="schemathesis comes with the extra `dev`")
    system._environ |= {
        "AVA_ENCRYPTION_KEY": "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE=",
        "AVA_LOG_LEVEL": "WARNING",
    }
    system.start_api()
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_incident_notify', 'Notify', 300, 0, 10, 'default', 'requeue')"
    )
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(_description(system)))
    argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(schema)]
    argv += ["--url", system.url, "-H", f"Authorization: Bearer {_make_key(system)}"]
    argv += ["--checks", "all", "--max-examples", EXAMPLES, "--exclude-path-regex", "/stream$", "--no-color"]
    # A fixed seed, because a test must find the same twice; the schema decides what is generated from it.
    argv += ["--generation-database", "none", "--seed", "1"]
    found = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-12_000:]
    tested = re.search(r"Tested: (\d+)", found.stdout)
    assert tested
    # Every operation but the stream.
    assert int(tested[1]) >= 24
    assert "key_" in {str(row[0])[:4] for row in system.query("SELECT DISTINCT triggered_by FROM jobs")}
    assert system.api
    assert "Traceback" not in system.api.output


def _description(system: System) -> Any:
    """Returns the description without the other ways to say who calls, which would be tried beside the key."""
    description = system.get("/openapi.json").json()
    for methods in description["paths"].values():
        for operation in methods.values():
            operation["security"] = [way for way in operation["security"] if list(way) in (["ApiKey"], [])]
            assert operation["security"]
    return description


def _make_key(system: System) -> str:
    body = {"name": "schemathesis", "role": HEADERS["x-platform-role"]}
    return str(system.post("/v1/ava/keys", json=body).json()["data"]["token"])


def test_every_operation_is_described_with_its_failures(shared_api: Api) -> None:
    description = json.loads(shared_api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    assert description["openapi"] == "3.1.0"
    described = {(method, path) for path, methods in description["paths"].items() for method in methods}
    for rule in shared_api.app.url_map.iter_rules():
        operation = getattr(shared_api.app.view_functions[rule.endpoint], "operation", None)
        if operation is None:
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            assert (method.lower(), path) in described
            responses = description["paths"][path][method.lower()]["responses"]
            assert {str(operation.status), "400", "401", "403", "429", "500", "503"} <= set(responses)
    assert description["components"]["schemas"]["JobRecord"]["required"][:4] == [
        "id",
        "worker_id",
        "tenant_id",
        "status",
    ]


def test_every_operation_has_a_server_and_examples_that_its_schemas_allow(shared_api: Api) -> None:
    description = json.loads(shared_api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    assert description["servers"] == [{"url": "/"}]
    schemas = {"components": description["components"]}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            success = next(response for status, response in operation["responses"].items() if status.startswith("2"))
            for content in (kind for part in (*bodies, success) for kind in part["content"].values()):
                assert "example" in content or content["schema"] == {"type": "string"}, (method, path)
                if "$ref" in str(content["schema"]):
                    jsonschema_rs.validate(content["schema"] | schemas, content["example"])


def test_the_api_accepts_the_example_of_every_body(api: Api) -> None:
    api.announce("wkr_incident_notify")
    description = json.loads(api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    refused = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            if "requestBody" not in operation:
                continue
            example = operation["requestBody"]["content"]["application/json"]["example"]
            found = api.request(method.upper(), re.sub(r"{(\w+)}", _known, path), json=example)
            if found.status_code in (400, 422):
                refused[method, path] = found.json
    assert not refused


def _known(parameter: re.Match[str]) -> str:
    """Returns an id for a parameter of a path; but for the worker there is no such record."""
    name = parameter[1]
    return "wkr_incident_notify" if name == "worker_id" else f"{_PREFIXES.get(name, 'none')}_01jwnqrgt0e3rt0q9vz5k8x2mc"


def test_every_object_names_its_fields_or_says_that_it_has_others(shared_api: Api) -> None:
    description = json.loads(shared_api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    closed = [path for path, schema in schemas_in(description) if _is_closed(schema)]
    assert closed == []


def test_a_batch_and_an_export_say_what_each_of_their_entries_is(api: Api) -> None:
    description = json.loads(api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    content = description["paths"]["/v1/ava/events"]["post"]["requestBody"]["content"]
    batch = content["application/cloudevents-batch+json"]
    assert jsonschema_rs.is_valid(batch["schema"], batch["example"])
    for wrong in ([1], [{}], [batch["example"][0] | {"specversion": "0.3"}], []):
        assert not jsonschema_rs.is_valid(batch["schema"], wrong), wrong
    export = description["paths"]["/v1/ava/jobs/export"]["get"]["responses"]["200"]["content"]
    schema = export["application/x-ndjson"]["schema"] | {"components": description["components"]}
    api.trigger()
    (line,) = api.get("/v1/ava/jobs/export").text.splitlines()
    jsonschema_rs.validate(schema, json.loads(line))


def test_no_schema_names_a_type_twice(shared_api: Api) -> None:
    description = json.loads(shared_api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    types = [(path, schema["type"]) for path, schema in schemas_in(description) if isinstance(schema.get("type"), list)]
    assert types
    assert [each for each in types if len(each[1]) != len(set(each[1]))] == []


def test_each_maker_of_a_job_matches_the_pattern_of_its_record(shared_api: Api) -> None:
    description = json.loads(shared_api.get("/openapi.json", headers=dict.fromkeys(HEADERS)).data)
    record = description["components"]["schemas"]["JobRecord"]["properties"]
    for field in ("triggered_by", "cancelled_by"):
        for maker in ("usr_a", "key_01", "sch_01", "job_01", "hk_01", "sub_01"):
            assert re.search(record[field]["pattern"], maker), (field, maker)
        assert not re.search(record[field]["pattern"], "ten_01")


def _is_closed(schema: dict[str, Any]) -> bool:
    """True if a generated client takes the object as one that is always empty."""
    is_object = schema.get("type") == "object" or (isinstance(schema.get("type"), list) and "object" in schema["type"])
    return is_object and "properties" not in schema and "additionalProperties" not in schema


def test_a_failure_names_its_documentation_by_an_absolute_url(shared_api: Api) -> None:
    def named(host: str) -> str:
        return str(shared_api.get("/v1/ava/jobs/none", headers={"Host": host}).json["error"]["docs_url"])

    assert named("jobs.example.com:8443") == "http://jobs.example.com:8443/docs/errors#resource_not_found"
    assert named("[::1]:8080") == "http://[::1]:8080/docs/errors#resource_not_found"
    assert named('evil"><script>') == "/docs/errors#resource_not_found"


def test_the_docs_page_loads_no_files_from_other_hosts(shared_api: Api) -> None:
    no_headers = dict.fromkeys(HEADERS)
    page = shared_api.get("/docs", headers=no_headers)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith(("/docs", "/static/", "/"))
        assert not address.startswith("//")
        assert shared_api.get(address, headers=no_headers, buffered=True).status_code == 200
    assert not re.search(r"<script>|<style>|\son\w+=", page.text)
    errors = shared_api.get("/docs/errors", headers=no_headers).text
    assert 'id="validation_error"' in errors
