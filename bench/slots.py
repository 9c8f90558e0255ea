"""`python -m bench.slots [wait] [peers] [groups]`: measure slots.

`wait`: 2,000 waiting jobs in one process. `peers`: no-op jobs in slots, plain Celery and Oban. `groups`: short jobs in
slots and in groups in processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from ava.domain import ids
from ava.domain.jobs.job import JobSpec
from ava.errors import JobStateConflict
from bench.servers import Servers, until
from bench.slot_drains import NodeKind, Slots, beside_groups, beside_peers

_PARTS = ("wait", "peers", "groups")
_MIB = 2**20
_CANCELS = 50
_URGENT = 20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(_PARTS)}")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs that wait at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each waits")
    parser.add_argument("--broker", default="redis", choices=("redis", "rabbitmq"))
    parser.add_argument("--brief", type=int, default=10_000, help="brief jobs of each drain")
    parser.add_argument("--rounds", type=int, default=3, help="drains of each kind")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    parts = options.parts or _PARTS
    with ExitStack() as stack:
        servers = Servers(stack)
        ours = Slots(servers, options.broker)
        if "wait" in parts:
            with _http_server() as port:
                for handler in ("wait", "ask"):
                    _wait(ours, handler, options.jobs, {"seconds": options.seconds, "port": port})
        if "peers" in parts:
            beside_peers(ours, servers, jobs=options.brief, rounds=options.rounds)
        if "groups" in parts:
            beside_groups(ours, jobs=options.brief, rounds=options.rounds)


def _wait(ours: Slots, handler: str, jobs: int, given: dict[str, float]) -> None:
    ours.node = NodeKind(slots=jobs)
    ours.clear()
    with ours.workers() as (node, _):
        idle = _urgent_ms(ours, _URGENT)
        ours.clear()
        began = time.monotonic()
        ours.fill(jobs, handler=handler, input_json=json.dumps(given))
        running = "SELECT count(*) FROM jobs WHERE status = 'running'"
        until(lambda: ours.database.value(running) >= 0.9 * jobs or ours.finished() > 0)
        most = ours.database.value(running)
        beside = _urgent_ms(ours, _URGENT)
        cancels = _cancel_ms(ours, handler)
        memory = _memory_mib(node)
        is_left = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"
        until(lambda: not ours.database.value(is_left), every=0.05)
        last = ours.database.value("SELECT extract(epoch FROM max(completed_at) - min(created_at))::float8 FROM jobs")
    took = min(float(last), time.monotonic() - began)
    print(
        f"{handler}: {jobs} jobs of {given['seconds']:g} s in {took:.2f} s, {given['seconds'] / took:.2f} of the best; "
        f"{most} seen running at once; node {memory:.0f} MiB; cancel p99 {cancels:.0f} ms; "
        f"an urgent job starts after {beside:.1f} ms, {idle:.1f} ms on an idle node"
    )


def _urgent_ms(ours: Slots, count: int) -> float:
    """Return the median milliseconds from the trigger of an urgent job to its start, sequentially."""
    spec = JobSpec(worker_id="wkr_noop", input_json="{}", priority=1)
    ended = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_noop' AND status = 'completed'"
    for number in range(count):
        ours.jobs.trigger(ours.caller, [spec])
        until(lambda number=number: ours.database.value(ended) > number, every=0.002)  # type: ignore[misc]
    return float(
        ours.database.value(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at) * 1000)"
            " FROM jobs WHERE worker_id = 'wkr_noop'"
        )
    )


def _cancel_ms(ours: Slots, handler: str) -> float:
    rows = ours.database.rows(
        "SELECT id::text FROM jobs WHERE status = 'running' AND worker_id = %s ORDER BY started_at DESC LIMIT %s",
        f"wkr_{handler}",
        _CANCELS,
    )
    times = []
    for (uuid,) in rows:
        with suppress(JobStateConflict):
            ours.jobs.cancel(ours.caller, ids.encode("job", uuid))
        has_ended = "SELECT count(*) FROM jobs WHERE id = %s::uuid AND completed_at IS NOT NULL"
        until(lambda uuid=uuid, has_ended=has_ended: ours.database.value(has_ended, uuid), every=0.002)  # type: ignore[misc]
        times.append(
            ours.database.value(
                "SELECT extract(epoch FROM completed_at - cancel_requested_at)::float8 * 1000 FROM jobs"
                " WHERE id = %s::uuid", uuid,
            )
        )  # fmt: skip
    return max((each for each in times if each is not None), default=0.0)


def _memory_mib(node: int) -> float:
    parent = psutil.Process(node)
    return float(sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True))) / _MIB)


@contextmanager
def _http_server() -> Iterator[int]:
    """Run a server that answers `GET /<seconds>` after that time. Yields its port."""
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readline()
        await asyncio.sleep(float(request.split()[1][1:]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


if __name__ == "__main__":
    main()
