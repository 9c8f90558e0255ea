"""The measures of one system. Each function takes one round and returns figures by name."""

from __future__ import annotations

import time

from ava.domain.jobs.job import JobSpec
from bench import load, rows
from bench.servers import until
from bench.systems import Ours, System
from bench.table import Figures


def accept(system: System, port: int, *, requests: int, connections: int = 8) -> Figures:
    """Accept one job per request, over several connections."""
    system.clear()
    figures = _accept(system, port, requests=requests, connections=connections)
    assert system.database.value("SELECT count(*) FROM jobs") == requests
    return figures


def _accept(system: System, port: int, *, requests: int, connections: int = 8) -> Figures:
    request = system.request("noop")
    result = load.generate(port, lambda _: request, requests=requests, connections=connections)
    assert not result.refused, f"{system.name} refused {result.refused} requests"
    return {"jobs/s": result.requests_per_second, "p50 ms": result.p50, "p99 ms": result.p99}


def accept_draining(system: System, port: int, *, waiting: int, requests: int) -> Figures:
    """Accept while two processes drain a backlog that outlasts the measure."""
    system.clear()
    system.fill(waiting)
    with system.workers():
        until(lambda: system.finished() >= waiting / 20)
        done, began = system.finished(), time.monotonic()
        figures = _accept(system, port, requests=requests)
        drained = system.finished() - done
        seconds = time.monotonic() - began
        assert done + drained < waiting + requests, f"{system.name} had drained everything"
    return {**figures, "drained meanwhile, jobs/s": drained / seconds}


def accept_bulk(system: Ours, port: int, *, requests: int, jobs: int = 100) -> Figures:
    """Accept many jobs per request."""
    system.clear()
    request = system.bulk_request(jobs)
    result = load.generate(port, lambda _: request, requests=requests)
    assert not result.refused, f"{system.name} refused {result.refused} requests"
    assert system.database.value("SELECT count(*) FROM jobs") == requests * jobs
    return {"jobs/s": result.requests_per_second * jobs, "p50 ms": result.p50, "p99 ms": result.p99}


def drain(system: System, *, jobs: int) -> Figures:
    """Drain queued no-op jobs with two processes, measured from the end of the first to the end of the last.

    The times are those of the records, because polling takes time from the measured processes.
    """
    system.clear()
    system.fill(jobs)
    with system.workers():
        until(lambda: system.finished() >= jobs, seconds=300, every=1.0)
    lines = system.database.value(f"SELECT count(*) FROM {system.lines}")
    assert lines == 4 * jobs, f"{system.name} kept {lines} log lines of {jobs} jobs"
    return rates(jobs, *system.finishing_seconds())


def rates(jobs: int, whole: float, second_half: float) -> Figures:
    """Return the rate of a drain, and that of its second half, when the processes are warm."""
    return {"jobs/s": (jobs - 1) / whole, "warm, jobs/s": jobs / 2 / second_half}


def start_latency(system: System, port: int, *, jobs: int, every_seconds: float = 0.05) -> Figures:
    """Measure from before the request to the handler's first line, with an idle node."""
    _await_processes(system, port)
    sent = _send(system, system.request("mark"), port, jobs=jobs, every_seconds=every_seconds)
    until(lambda: system.finished() >= jobs)
    return _latency(sent, system)


def urgent_latency(system: Ours, port: int, *, waiting: int, jobs: int) -> Figures:
    """Measure the start latency of priority 1 jobs while `waiting` jobs of priority 5 are drained."""
    system.clear()
    rows.wait_in_database(system.database, waiting)
    until(lambda: system.finished() >= 500)
    sent = _send(system, system.request("mark", priority=1), port, jobs=jobs, every_seconds=0.05)
    until(lambda: len(system.latencies()) >= jobs)
    assert system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'") > waiting / 2
    return _latency(sent, system)


def _send(system: System, request: bytes, port: int, *, jobs: int, every_seconds: float) -> list[float]:
    """Trigger jobs sequentially. Returns the time before each request, in Unix seconds."""
    sent: list[float] = []
    connection = load.Connection(port)
    for _ in range(jobs):
        sent.append(time.time())
        connection.send(request)
        _await_answer(connection, system)
        time.sleep(every_seconds)
    connection.socket.close()
    return sent


def _latency(sent: list[float], system: System) -> Figures:
    # Ignore the first few, which warm up connections and caches.
    took = [(began - at) * 1000 for at, began in zip(sent, system.latencies(), strict=True)][5:]
    return {"p50 ms": load.percentile(took, 50), "p99 ms": load.percentile(took, 99)}


def loaded_latency(system: System, port: int, *, jobs: int, per_second: float) -> Figures:
    """Like `start_latency`, during `per_second` triggers of no-op jobs a second, which the node can handle."""
    _await_processes(system, port)
    mark, noop = system.request("mark"), system.request("noop")
    sent: list[float] = []
    connections = [load.Connection(port) for _ in range(8)]
    began = time.monotonic()
    every = max(1, round(per_second / 20))
    for number in range(jobs * every):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        connection, is_marked = connections[number % 8], number % every == 0
        if number >= 8:
            _await_answer(connection, system)
        sent += [time.time()] * is_marked
        connection.send(mark if is_marked else noop)
    for connection in connections:
        _await_answer(connection, system)
        connection.socket.close()
    until(lambda: system.finished() >= jobs * every)
    return _latency(sent, system)


def _await_processes(system: System, port: int) -> None:
    """Run and delete a job, because the baseline's processes have no other sign that they have started."""
    system.clear()
    connection = load.Connection(port)
    connection.send(system.request("noop"))
    _await_answer(connection, system)
    connection.socket.close()
    until(lambda: system.finished() >= 1)
    system.clear()


def _await_answer(connection: load.Connection, system: System) -> None:
    while (status := connection.receive()) is None:
        pass
    assert 200 <= status < 300, f"{system.name} returned {status}"


def log_lines(system: Ours, *, lines: int) -> Figures:
    """Measure log lines stored per second by two concurrent jobs, from the first start to the last end."""
    system.clear()
    with system.workers():
        spec = JobSpec(worker_id="wkr_wordy", input_json=f'{{"lines": {lines // 2}}}')
        system.jobs.trigger(system.caller, [spec] * 2)
        until(lambda: system.finished() >= 2)
    seconds = system.database.value("SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8 FROM jobs")
    stored = system.database.value(f"SELECT count(*) FROM {system.lines}")
    assert stored >= lines, f"{stored} of {lines} lines were stored"
    return {"lines/s": stored / seconds}
