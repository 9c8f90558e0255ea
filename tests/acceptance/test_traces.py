"""One trace from the request to the webhook, as a collector receives it; a silent collector delays nothing."""

from __future__ import annotations

import itertools
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.polling import wait_until
from harness.servers.receiver import Receiver
from harness.system import System

pytestmark = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

TRACE = "0af7651916cd43dd8448eb211c80319c"
OF_HOOK = "1af7651916cd43dd8448eb211c80319d"
CALLER = "b7ad6b7169203331"
SECRET = "nobody-but-the-handler"
ENVIRON = {
    "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    "AVA_HANDLERS": "workers,workers.sleep,tests.acceptance.handlers",
    "AVA_API_PROCESSES": "1",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
}


@dataclass(frozen=True)
class Seen:
    """A span as the collector received it."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    is_failed: bool
    about: dict[str, Any]


class Collector(Receiver):
    """A server that receives spans as OpenTelemetry's collector does."""

    @property
    def endpoint(self) -> str:
        return self.url.removesuffix("/hook")

    @property
    def spans(self) -> list[Seen]:
        return list(itertools.chain.from_iterable(_parsed(received.body) for received in list(self.received)))

    def of(self, trace: str) -> dict[str, list[Seen]]:
        """Returns the spans of a trace, by name."""
        found: dict[str, list[Seen]] = {}
        for span in self.spans:
            if span.trace == trace:
                found.setdefault(span.name, []).append(span)
        return found


def _parsed(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        (service,) = [it.value.string_value for it in resource.resource.attributes if it.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                about = {it.key: it.value.string_value or it.value.int_value for it in span.attributes}
                yield Seen(
                    service=service,
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    is_failed=span.status.code == 2,
                    about=about,
                )


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def _has(collector: Collector, trace: str, **counts: int) -> Callable[[], bool]:
    def has() -> bool:
        found = collector.of(trace)
        return all(len(found.get(name, [])) == count for name, count in counts.items())

    return has


def test_one_trace_goes_from_a_request_or_from_a_hook_to_its_job_and_to_the_webhook(
    system: System, collector: Collector, receiver: Receiver
) -> None:
    system.start(webhooks=1, environ={**ENVIRON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
    system.post("/v1/webhooks", json={"url": receiver.url, "events": ["ava.job.completed"], "secret": SECRET * 2})
    _follow_a_request(system, collector, receiver)
    _follow_a_hook(system, collector, receiver)


def _follow_a_request(system: System, collector: Collector, receiver: Receiver) -> None:
    sent = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "theirs=1"}
    body = {"worker_id": "wkr_t_traced", "input": {"note": SECRET}}
    job = system.post("/v1/ava/jobs", json=body, headers=sent).json()["data"]
    output = system.wait_for(job["id"], "completed")["output"]
    # The second attempt is fed by the dispatcher, from the database.
    wait_until(_has(collector, TRACE, publish=2, run=2, handler=2, deliver=1), what=lambda: str(collector.of(TRACE)))
    found = collector.of(TRACE)
    (request,) = found.pop("POST /v1/ava/jobs")
    assert (request.service, request.parent) == ("ava-api", CALLER)
    assert request.about["http.response.status_code"] == 201
    assert {name: {span.parent for span in found[name]} for name in ("publish", "run", "deliver")} == {
        name: {request.id} for name in ("publish", "run", "deliver")
    }
    assert [span.service for span in found["publish"]] == ["ava-api", "ava-dispatcher"]
    first, second = sorted(found["run"], key=lambda span: span.about["ava.attempt"])
    assert [first.is_failed, second.is_failed] == [True, False]
    assert [first.about["ava.job.status"], second.about["ava.job.status"]] == ["queued", "completed"]
    assert second.about | {"ava.job.id": job["id"], "ava.tenant.id": "ten_test"} == second.about
    runs = {first.id: first, second.id: second}
    assert {span.parent for span in found["handler"]} == {span.parent for span in found["claim"]} == set(runs)
    # What the handler makes of its own is part of it, and so is whom it calls.
    assert {span.parent for span in found["own"]} == {span.id for span in found["handler"]}
    (last,) = [span for span in found["handler"] if span.parent == second.id]
    assert output == {"traceparent": f"00-{TRACE}-{last.id}-01"}
    (delivery,) = found["deliver"]
    assert _is_sent(receiver, TRACE, delivery)
    assert SECRET.encode() not in b"".join(received.body for received in collector.received)
    _assert_a_wrong_context_is_ignored(system, collector)
    with pytest.raises(psycopg2.errors.CheckViolation):
        system.query("UPDATE jobs SET traceparent = 'anything'")


def _follow_a_hook(system: System, collector: Collector, receiver: Receiver) -> None:
    hook = system.post("/v1/ava/hooks", json={"name": "traced", "provider": "none"}).json()["data"]
    subscription = {"event_type": "hook.traced", "worker_id": "wkr_sleep", "input": {"seconds": 0}}
    assert system.post("/v1/ava/subscriptions", json=subscription).status_code == 201
    sent = requests.post(hook["url"], json={}, headers={"traceparent": f"00-{OF_HOOK}-{CALLER}-01"}, timeout=30)
    (job_id,) = sent.json()["data"]["job_ids"]
    system.wait_for(job_id, "completed")
    wait_until(_has(collector, OF_HOOK, run=1, deliver=1), what=lambda: str(collector.of(OF_HOOK)))
    found = collector.of(OF_HOOK)
    (request,) = [span for name, spans in found.items() if name.startswith("POST ") for span in spans]
    assert (request.name, request.parent) == ("POST /v1/hooks/<token>", CALLER)
    assert {span.parent for name in ("run", "deliver") for span in found[name]} == {request.id}
    assert found["run"][0].about["ava.job.id"] == job_id
    assert _is_sent(receiver, OF_HOOK, found["deliver"][0])
    # The token is a secret.
    token = hook["url"].rpartition("/")[2].encode()
    assert token not in b"".join(received.body for received in collector.received)


def _is_sent(receiver: Receiver, trace: str, delivery: Seen) -> bool:
    """Returns whether a webhook went out in this span; those of other jobs come before and after it."""
    return f"00-{trace}-{delivery.id}-01" in {it.headers.get("traceparent") for it in list(receiver.received)}


def _assert_a_wrong_context_is_ignored(system: System, collector: Collector) -> None:
    for wrong in (f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}", "anything"):
        response = system.post(
            "/v1/ava/jobs", json={"worker_id": "wkr_sleep", "input": {"seconds": 0}}, headers={"traceparent": wrong}
        )
        assert response.status_code == 201
        system.cancel(response.json()["data"]["id"])
    wait_until(lambda: len({span.trace for span in collector.spans if span.name == "POST /v1/ava/jobs"}) == 5)
    roots = [span for span in collector.spans if span.name == "POST /v1/ava/jobs" and span.trace != TRACE]
    assert [span.parent for span in roots] == [""] * 4


def test_spans_of_interrupted_runs_are_sent_before_a_node_ends(system: System, collector: Collector) -> None:
    # The batch interval is ten minutes, so that spans that arrive are those sent at the end.
    seldom = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "ours", "AVA_DRAIN_SECONDS": "0"}
    endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces"}
    system.start(concurrency=3, environ={**ENVIRON, **seldom, **endpoint})
    jobs = [system.trigger("wkr_sleep", input={"seconds": 60}) for _ in range(2)]
    # The node reports the run of a process that is killed.
    killed = system.trigger("wkr_t_bad_end", input={"how": "kill"})
    for job in jobs:
        system.wait_for(job["id"], "running")
    system.wait_for(killed["id"], "failed")
    reported = wait_until(lambda: (spans := [span for span in collector.spans if span.name == "run"])[-1:] and spans)
    assert {span.about["ava.job.id"] for span in reported} == {killed["id"]}
    assert all(span.is_failed for span in reported)
    system.cancel(jobs[0]["id"])
    system.wait_for(jobs[0]["id"], "cancelled")
    system.workers[0].terminate()
    runs = {span.about["ava.job.id"]: span for span in collector.spans if span.name == "run"}
    assert [runs[job["id"]].is_failed for job in jobs] == [True, True]
    assert runs[jobs[0]["id"]].about["ava.job.status"] == "cancelled"
    assert system.api
    system.api.terminate()
    assert {span.service for span in collector.spans} == {"ours"}
    assert {received.path for received in collector.received} == {"/v1/traces"}
    assert "POST /v1/ava/jobs" in collector.of(runs[jobs[0]["id"]].trace)


def test_a_collector_that_does_not_respond_delays_no_job_and_no_shutdown(system: System) -> None:
    # It accepts connections and reads nothing. An export gives up after ten minutes, far beyond the limits below.
    with socket.create_server(("127.0.0.1", 0), backlog=100) as collector:
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600000", "OTEL_BSP_EXPORT_TIMEOUT": "600000"}
        system.start(environ={**ENVIRON, **patient, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        for _ in range(5):
            system.wait_for(system.trigger("wkr_sleep", input={"seconds": 0})["id"], "completed")
        assert select.select([collector], [], [], 30)[0], "spans are being sent"
        assert system.api
        processes = (system.api, system.workers[0], system.dispatchers[0])
        for process in processes:
            process.send(signal.SIGTERM)
        for process in processes:
            assert process.wait() == 0
            assert "Traceback" not in process.output
