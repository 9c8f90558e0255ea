"""Measure the API's longest event loop iteration for each hostile body: `python -m chaos.loop_times [--body WORD]`.

Each body of `chaos.costly_bodies` is sent to an API of one process, one after the other. Prints each longest iteration
and the processor time of the whole process during it, and exits with 1 if one took more than 50 ms. An iteration also
waits for the GIL, so it reveals threads that do not release it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ava import settings as settings_module
from ava.store.engine import schema
from chaos.costly_bodies import COPIES, SUBSCRIPTIONS, Body, bodies
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import HEADERS, System

MAX_SECONDS = 0.05
_TIMES = 3
#: Seconds after a response in which the process may still work for it.
_AFTER_SECONDS = 0.1
_OPERATOR = {"x-platform-role": "platform-admin"}


@dataclass(frozen=True, kw_only=True)
class LoopTime:
    """The longest iteration of the event loop while a body was sent."""

    name: str
    statuses: frozenset[int]
    seconds: float
    #: Seconds of processor time of all threads of the process in that iteration.
    cpu_seconds: float

    @property
    def holds(self) -> bool:
        """Return True if no iteration took too long."""
        return self.seconds <= MAX_SECONDS


class _Watched:
    """An API process that records its iterations in a file."""

    def __init__(self, system: System, turns: Path) -> None:
        self.system, self._turns = system, turns

    def measure(self, name: str, send: Callable[[], set[int]], times: int) -> LoopTime:
        """Call `send`, which returns statuses, `times` times. Returns the longest iteration during the calls."""
        began = time.monotonic()
        statuses = frozenset().union(*(send() for _ in range(times)))
        time.sleep(_AFTER_SECONDS)
        turns = [tuple(map(float, line.split())) for line in self._turns.read_text().splitlines()]
        found = [(until - since, cpu) for since, until, cpu in turns if until > began]
        seconds, cpu_seconds = max(found, default=(0.0, 0.0))
        return LoopTime(name=name, statuses=statuses, seconds=seconds, cpu_seconds=cpu_seconds)

    def send(self, body: Body) -> set[int]:
        """Send a body over a new connection. Returns the status, 0 if the connection was closed."""
        url = f"{self.system.url}{body.path}"
        try:
            return {requests.request(body.method, url, data=body.body, headers=body.headers, timeout=60).status_code}
        except requests.ConnectionError:
            return {0}


@contextmanager
def _watched() -> Iterator[_Watched]:
    with ExitStack() as stack:
        postgres, redis = stack.enter_context(running_postgres()), stack.enter_context(running_redis())
        folder = stack.enter_context(private_folder())
        system = System(folder, database_url=postgres.url, broker_url=redis.url, api_processes=1)
        stack.callback(system.stop)
        turns = folder / "turns"
        turns.touch()
        system._environ |= {
            "AVA_HANDLERS": "chaos.tenant_handlers,tests.acceptance.handlers",
            "AVA_LOG_LEVEL": "WARNING",
            "CHAOS_TURNS": str(turns),
        }
        schema.upgrade(settings_module.load(system.environ, uses_broker=False))
        address = ("--host", "127.0.0.1", "--port", str(system.port))
        system.api = system.spawn("api", *address, module="chaos.watched_api")
        node = system.start_worker()
        system.await_ready()
        # Accepted jobs would use the processors.
        node.terminate()
        yield _Watched(system, turns)


def _prepare(system: System) -> tuple[str, str]:
    """Create the targets of the bodies. Returns the paths of a hook and of a run."""

    def made(path: str, headers: dict[str, str | None] | None = None, **fields: Any) -> Any:
        response = system.post(path, json=fields, headers=headers or {})
        assert response.ok, response.text
        return response.json()["data"]

    for _ in range(COPIES):
        made(SUBSCRIPTIONS, event_type="copied", worker_id="wkr_brief")
    for number in range(40):
        match = {"data": {"items": [{"numeric": [">", number]}, {"prefix": "z"}]}}
        made(SUBSCRIPTIONS, event_type="compared", worker_id="wkr_brief", match=match)
    hook = made("/v1/ava/hooks", name="any", provider="none", worker_id="wkr_brief")
    made("/v1/ava/workers", slug="pulled", runtime="pull")
    key = made("/v1/ava/keys", name="box", role="worker", workers=["wkr_pulled"])
    own = {**dict.fromkeys(HEADERS), "Authorization": f"Bearer {key['token']}"}
    claim = {"headers": own, "workers": ["wkr_pulled"], "wait": 30}
    # The worker is live after its first claim, and jobs are published for it.
    made("/v1/ava/runs/claim", **{**claim, "wait": 0})
    made("/v1/ava/jobs", worker_id="wkr_pulled")
    (run,) = made("/v1/ava/runs/claim", **claim)
    return "/v1/" + hook["url"].partition("/v1/")[2], f"/v1/ava/runs/{run['run']}"


def measure(words: Sequence[str] = (), times: int = _TIMES) -> Iterator[LoopTime]:
    """Yield the longest iteration for each body with one of `words` in its name, or for all without words."""
    with _watched() as watched:
        hook_path, run_path = _prepare(watched.system)
        headers = {"Content-Type": "application/json"}
        for body in bodies(hook_path, run_path, headers):
            if not words or any(word in body.name for word in words):
                yield watched.measure(body.name, lambda body=body: watched.send(body), times)  # type: ignore[misc]


def show(found: Iterable[LoopTime]) -> bool:
    """Print a table. Returns True if no iteration took too long."""
    all_hold = True
    print("| body | status | longest turn | processor time in it | kept |\n|---|---|---|---|---|")
    for each in found:
        all_hold = all_hold and each.holds
        statuses = ", ".join(map(str, sorted(each.statuses)))
        times = f"{each.seconds * 1000:.0f} ms | {each.cpu_seconds * 1000:.0f} ms"
        print(f"| {each.name} | {statuses} | {times} | {'yes' if each.holds else '**NO**'} |", flush=True)
    return all_hold


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", action="append", default=[], metavar="WORD", help="only bodies with this in the name")
    parser.add_argument("--times", type=int, default=_TIMES, help="how often each is sent")
    options = parser.parse_args()
    return int(not show(measure(options.body, options.times)))


if __name__ == "__main__":
    sys.exit(main())
