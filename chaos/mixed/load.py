"""The mixed load: clients that trigger random programs, send events, cancel jobs and place orders."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import psycopg2

from chaos import effects, outbox_processes
from chaos.cluster import Cluster
from chaos.mixed.handlers import LIMIT
from chaos.mixed.history import Asked, Graph, History, runs_of
from chaos.mixed.programs import LIMITED, MIXED, Plan, Programs
from chaos.mixed.timeline import Timeline, insist
from chaos.mixed.watcher import Watcher
from chaos.pulled_worker import PulledWorker, make_worker
from harness.polling import wait_until
from harness.servers.receiver import Receiver

ENVIRON = {
    "AVA_HANDLERS": "chaos.handlers,chaos.mixed.handlers",
    "AVA_SLOTS": "50",
    "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    "AVA_RATE_LIMIT_HOOK": "1000000/minute",
    "AVA_RATE_LIMIT_ADDRESS": "1000000/minute",
}
_THREADS, _PULLED_WORKERS, _TRIES = 6, 2, 5
_HOOK_SECRET = "the-secret-of-the-mixed-load"
#: Every eighth plan sends an event to the subscription, every tenth a delivery to the hook and orders to the outbox.
_EVENT_EVERY, _DELIVERY_EVERY, _ORDERS_EVERY = 8, 10, 10
#: Seconds until every request is answered, every job is final, and every row and webhook is sent.
_REQUESTS_SECONDS, _JOBS_SECONDS, _SENT_SECONDS = 120.0, 240.0, 120.0
#: Seconds before and after a full minute in which the schedule's job may run.
_FIRING_SECONDS = 8
_NOT_SENT = "SELECT count(*) FROM ava_outbox"
_ENDS = ["ava.job.completed", "ava.job.failed", "ava.job.cancelled"]


class MixedLoad:
    """Clients of one cluster. `start`, then `begin_round` and `finish_round` in turn, then `stop`."""

    def __init__(self, cluster: Cluster, *, seed: int, per_second: float, has_deaths: bool) -> None:
        self._cluster = cluster
        self._url = cluster.system.url
        self._programs = Programs(seed, has_deaths=has_deaths)
        self._seed = seed
        self._pause = 1 / per_second
        self._number = 0
        self._may_trigger = self._has_ended = False
        self._stack = ExitStack()
        self._asked = Asked()
        self._ordering = threading.Lock()
        #: When all jobs of the last round had ended.
        self.ended_at = 0.0
        self._deliveries: dict[str, set[tuple[str, bytes]]] = {}

    # Its life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Create the webhook, the hook, the subscription, the schedule, the pulled workers and the outbox."""
        cluster, stack = self._cluster, self._stack
        self._watcher = Watcher(cluster.system)
        stack.callback(self._watcher.stop)
        self._receiver = Receiver()
        stack.callback(self._receiver.close)
        cluster.system.start_sender()
        self._create("/v1/webhooks", {"url": self._receiver.url, "events": _ENDS, "secret": "x" * 24})
        template = {"source": ["event", {"$get": "data.number"}]}
        self._create("/v1/ava/subscriptions", {"event_type": "chaos.number", "worker_id": MIXED, "input": template})
        template = {"source": ["hook", {"$get": "data.number"}]}
        hook = {"name": "mixed", "provider": "github", "secret": _HOOK_SECRET, "worker_id": MIXED, "input": template}
        self._hook_url = str(self._create("/v1/ava/hooks", hook)["url"])
        every_minute = {"worker_id": MIXED, "cron": "* * * * *", "timezone": "UTC", "catch_up": "all"}
        self._schedule = f"/v1/ava/schedules/{self._create('/v1/ava/schedules', every_minute)['id']}"
        self._start_pulled()
        self._start_outbox()
        self._timeline = Timeline(_THREADS)
        stack.callback(self._timeline.close)

    def _create(self, path: str, body: Any) -> dict[str, Any]:
        response = self._cluster.system.post(path, json=body)
        assert response.status_code == 201, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    def _start_pulled(self) -> None:
        self._key = make_worker(self._cluster.system)
        self._pulled = [self._start_pulled_worker() for _ in range(_PULLED_WORKERS)]

    def _start_pulled_worker(self) -> PulledWorker:
        cluster = self._cluster
        worker = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=self._key)
        worker.start()
        self._stack.callback(worker.stop)
        return worker

    def kill_pulled_worker(self) -> None:
        """Let a worker die that pulls runs, and start another."""
        self._pulled.pop(0).die()
        self._pulled.append(self._start_pulled_worker())

    def _start_outbox(self) -> None:
        self._database = outbox_processes.create_database(self._cluster)
        self._application = outbox_processes.start_application(self._database, MIXED)
        self._relay = outbox_processes.start_relay(self._cluster, self._database)
        for process in (self._application, self._relay):
            # On leaving, it closes the pipes and waits for the process.
            self._stack.enter_context(process)
            self._stack.callback(process.kill)

    def kill_relay(self) -> None:
        """Kill the relay of the outbox, and start another."""
        self._relay.kill()
        self._relay = outbox_processes.start_relay(self._cluster, self._database)
        self._stack.enter_context(self._relay)
        self._stack.callback(self._relay.kill)

    def begin_round(self) -> None:
        """Begin to trigger."""
        self._may_trigger = True
        self._timeline.add(0, self._trigger_next)

    def finish_round(self) -> History:
        """Stop triggering, wait until every job has ended, and return the history since the last `forget`."""
        self._may_trigger = False
        self._timeline.await_empty(_REQUESTS_SECONDS)
        with suppress(AssertionError):
            # The history shows an unfinished job as a violation.
            wait_until(self._all_is_sent, seconds=_SENT_SECONDS)
            wait_until(lambda: self._watcher.unfinished() == 0, seconds=_JOBS_SECONDS)
        self.ended_at = time.monotonic()
        _leave_full_minute()
        self._watcher.poll_once()
        with suppress(AssertionError):
            wait_until(lambda: self._watcher.outcomes.keys() <= self._read_deliveries().keys(), seconds=_SENT_SECONDS)
        orders = {number for (number,) in outbox_processes.query(self._database, "SELECT id FROM orders")}
        self._asked.sources["order"] = orders
        return History(
            runs=runs_of(effects.read(self._cluster.effects_path)),
            outcomes=dict(self._watcher.outcomes),
            asked=self._asked,
            limits={LIMITED: LIMIT},
            deliveries=self._read_deliveries(),
        )

    def forget(self) -> None:
        """Forget the history so far, so that hours of load fit into memory. All jobs must have ended."""
        self._asked = Asked()
        self._watcher.forget()
        self._deliveries = {}
        self._cluster.effects_path.unlink(missing_ok=True)
        outbox_processes.query(self._database, "DELETE FROM orders RETURNING id")

    def stop(self) -> None:
        """Stop the clients, their processes and the schedule."""
        self._has_ended = True
        self._cluster.system.request("DELETE", self._schedule)
        self._stack.close()

    @property
    def broken(self) -> list[str]:
        """Return the errors of requests that the API must accept."""
        return self._timeline.broken

    def _all_is_sent(self) -> bool:
        with suppress(psycopg2.Error):
            return outbox_processes.query(self._database, _NOT_SENT) == [(0,)]
        return False

    def _read_deliveries(self) -> dict[str, set[tuple[str, bytes]]]:
        """Return the requests that the webhook has received."""
        received = self._receiver.received
        while received:
            each = received.pop()
            pair = (each.headers["webhook-id"], hashlib.sha256(each.body).digest())
            self._deliveries.setdefault(each.event["data"]["id"], set()).add(pair)
        return self._deliveries

    # Requests ------------------------------------------------------------------------------------------------------

    def _post(self, path: str, body: Any, *, wanted: tuple[int, ...] = (201,), **headers: str) -> Any:
        """Repeat a request until the API responds with a wanted status. Return the data of the response."""
        url = path if path.startswith("http") else self._url + path
        response = insist(url, body, has_ended=lambda: self._has_ended, **headers)
        if response is None:
            return None
        assert response.status_code in wanted, f"{path}: {response.status_code} {response.text[:300]}"
        return response.json()["data"] if response.ok else None

    def _trigger_next(self) -> None:
        """Send the next plan, and plan the one after it."""
        if not self._may_trigger:
            return
        number = self._number
        self._number += 1
        self._timeline.add(self._pause, self._trigger_next)
        if number % _EVENT_EVERY == 0:
            self._timeline.add(0, partial(self._send_number, number))
        if number % _DELIVERY_EVERY == 0:
            self._timeline.add(0, partial(self._deliver, number))
        if number % _ORDERS_EVERY == 0:
            self._timeline.add(0, self._place_orders)
        self._trigger(number, self._programs.plan(number))

    def _trigger(self, number: int, plan: Plan) -> None:
        path = "/v1/ava/jobs/bulk" if plan.entries else "/v1/ava/jobs"
        body = {"jobs": plan.entries} if plan.entries else plan.job
        data = self._post(path, body, **{"Idempotency-Key": f"{self._seed}-{number}"})
        if data is None:
            return
        jobs: list[str] = [each["id"] for each in data] if isinstance(data, list) else [data["id"]]
        self._asked.accepted.update(jobs)
        if plan.job and "deadline_seconds" in plan.job:
            self._asked.deadlines[jobs[0]] = plan.job["deadline_seconds"]
        if any("after" in entry for entry in plan.entries):
            self._asked.graphs.append(_graph(plan, jobs))
        for key, after in plan.events.items():
            event = {"type": "chaos.mixed", "id": f"{self._seed}/{key}", "data": {"key": key}}
            self._timeline.add(after, partial(self._post, "/v1/ava/events", event))
        if plan.cancel_after is not None:
            for job_id in jobs:
                self._timeline.add(plan.cancel_after, partial(self._cancel, job_id))

    def _cancel(self, job_id: str) -> None:
        self._asked.cancelled.add(job_id)
        # 409: it is final.
        self._post(f"/v1/ava/jobs/{job_id}/cancel", None, wanted=(200, 409))

    def _send_number(self, number: int) -> None:
        event = {"type": "chaos.number", "id": f"{self._seed}/{number}", "data": {"number": number}}
        self._post("/v1/ava/events", event)
        self._asked.sources.setdefault("event", set()).add(number)

    def _place_orders(self) -> None:
        with self._ordering:
            outbox_processes.ask(self._application, _TRIES)
            outbox_processes.await_tries(self._application)

    def _deliver(self, number: int) -> None:
        body = json.dumps({"number": number}).encode()
        digest = hmac.new(_HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "x-github-event": "chaos",
            "x-github-delivery": str(number),
            "x-hub-signature-256": f"sha256={digest}",
        }
        self._post(self._hook_url, body, wanted=(202,), **headers)
        self._asked.sources.setdefault("hook", set()).add(number)


def _leave_full_minute() -> None:
    """Wait until the schedule is not firing, so that a round contains its job completely or not at all."""
    while not _FIRING_SECONDS < time.time() % 60 < 60 - _FIRING_SECONDS:
        time.sleep(0.5)


def _graph(plan: Plan, jobs: list[str]) -> Graph:
    entries = plan.entries
    return Graph(
        jobs={entry["name"]: job_id for entry, job_id in zip(entries, jobs, strict=True)},
        after={entry["name"]: entry["after"] for entry in entries if "after" in entry},
        when={entry["name"]: entry["when"] for entry in entries if "when" in entry},
        given={
            entry["name"]: entry["input"]["given"]["$output"].partition(".")[0]
            for entry in entries
            if "given" in entry["input"]
        },
    )
