"""Counters of ended processes still count, and take no more room however many have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from ava.metrics import ended_counters

#: Starts many processes that count and end, scrapes meanwhile, and prints the most files and what a scrape showed.
_COUNT = """
import os, threading
from ava.metrics import counters

folder, most, seen, has_ended = os.environ["PROMETHEUS_MULTIPROC_DIR"], 0, [], threading.Event()

def scrape():
    while not has_ended.is_set():
        lines = counters.expose().decode().splitlines()
        seen.append(sum(float(line.split()[-1]) for line in lines if line.startswith("ava_attempts_total")))

def count():
    counters.RUNS_ENDED.labels("wkr_a", "completed").inc(2)
    counters.DUTY_SECONDS.labels("due").observe(0.01)
    counters.ConnectionMeter("worker", 2)

count()
scraping = threading.Thread(target=scrape)
scraping.start()
for _ in range(60):
    if (pid := os.fork()) == 0:
        count()
        os._exit(0)
    os.waitpid(pid, 0)
    # A scrape may hold the lock.
    while os.path.exists(f"{folder}/counter_{pid}.db"):
        counters.merge_ended()
    most = max(most, len(os.listdir(folder)))
has_ended.set()
scraping.join()
print(most, seen == sorted(seen), len(set(seen)) > 1)
"""


def test_many_ended_processes_leave_few_files_and_all_that_they_counted(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", _COUNT], env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    most, is_rising, has_changed = found.stdout.split()
    # Three files each of the parent and of a child that has just ended, two merged ones, one unfinished, and the lock.
    assert int(most) <= 10
    assert (is_rising, has_changed) == ("True", "True"), "a scrape during a merge counts each value once"
    # The parent has ended as well.
    assert ended_counters.merge(tmp_path) > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_ended.db", "histogram_ended.db", "lock"]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    assert registry.get_sample_value("ava_attempts_total", {"worker": "wkr_a", "result": "completed"}) == 122
    assert registry.get_sample_value("ava_dispatcher_duty_seconds_count", {"duty": "due"}) == 61
    assert registry.get_sample_value("ava_dispatcher_duty_seconds_bucket", {"duty": "due", "le": "0.005"}) == 0
    assert registry.get_sample_value("ava_dispatcher_duty_seconds_bucket", {"duty": "due", "le": "0.025"}) == 61


def test_the_files_of_a_process_that_was_killed_while_it_started_are_deleted(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / f"counter_{process.pid}.db").touch()
    (tmp_path / f"histogram_{process.pid}.db").write_bytes(b"\xff" * 100)
    (tmp_path / f"gauge_livesum_{process.pid}.db").touch()
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    assert ended_counters.merge(tmp_path) == 3
    assert {file.name for file in tmp_path.glob("*_*.db")} == {
        "counter_ended.db", "histogram_ended.db", f"counter_{os.getpid()}.db"
    }  # fmt: skip
