"""`ava dev`: jobs run the handlers that are in the file now, their lines are printed, a mistake stops no job."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from ava.local.program import ava_argv
from harness.polling import wait_until
from harness.servers.server import private_folder
from tests.acceptance.up_process import Up, environment

_HANDLERS = """
import os
import time

from ava import worker


@worker("greet")
def greet(input):
    print("greeting \\x1b[31m" + input["name"])
    while input.get("until") and not os.path.exists(input["until"]):
        time.sleep(0.1)
    return "Hello"


@worker("total")
def total(x, y):
    return x + y
"""

_COUNT = """

@worker
def count(input):
    return 1
"""


def test_a_changed_file_is_served_by_a_new_node_while_running_jobs_finish() -> None:
    with private_folder() as folder:
        file = folder / "my_handlers.py"
        file.write_text(_HANDLERS)
        for library in ("click", "redis", "psycopg2"):
            (folder / f"{library}.py").write_text("raise SystemExit('a library was replaced')")
        dev = Up(folder / ".ava", command=("dev", "my_handlers.py"), cwd=folder)
        try:
            dev.await_ready()
            assert "wkr_greet" in dev.output.split("curl -X POST")[1]
            assert "total(x, y) gets as x the whole input, and as y the env of the run" in dev.output
            _assert_that_a_node_which_joins_has_its_handlers(folder)
            end = folder / "end"
            running = dev.trigger("wkr_greet", input={"name": "Ada", "until": str(end)})
            dev.await_status(running, "running")
            file.write_text(_HANDLERS.replace('"Hello"', '"Hi"'))
            wait_until(lambda: dev.output.count(" declares wkr_greet") == 2, seconds=30, what="a new node runs")
            changed = dev.trigger("wkr_greet", input={"name": "Bob"})
            assert dev.await_status(changed, "completed", "failed") == "completed"
            assert (_output(dev, changed), dev.status(running)) == ("Hi", "running")
            # What the quickstart says: once the new node is said to run a worker, the API takes its jobs.
            file.write_text(_HANDLERS + _COUNT)
            wait_until(lambda: "the new node runs wkr_count," in dev.output, seconds=30, what="a new node runs")
            counted = dev.trigger("wkr_count", input={})
            assert dev.await_status(counted, "completed", "failed") == "completed"
            _assert_that_a_program_triggers_a_task(folder)
            # The program is a new file in the folder, so a third node starts.
            wait_until(lambda: dev.output.count("the new node runs") == 3, seconds=30, what=lambda: dev.output)
            end.touch()
            assert dev.await_status(running, "completed", "failed") == "completed"
            assert _output(dev, running) == "Hello"
            # The lines of jobs are in the terminal, and cannot steer it.
            assert f"wkr_greet {changed} INFO  greeting  [31mBob" in dev.output
            file.write_text(_HANDLERS + "this is a mistake\n")
            wait_until(
                lambda: "keeping the running handlers, because" in dev.output and "SyntaxError" in dev.output,
                what="it names the mistake",
            )
            still = dev.trigger("wkr_greet", input={"name": "Cy"})
            assert dev.await_status(still, "completed", "failed") == "completed"
            dev.remember()
            dev.send(signal.SIGINT)
            assert dev.process.wait(60) == 0
            assert dev.left() == []
        finally:
            dev.clean_up()


def _assert_that_a_program_triggers_a_task(folder: Path) -> None:
    """It runs as in the quickstart, with the settings that `ava dev` wrote for it."""
    (folder / "call.py").write_text("from my_handlers import greet\nprint(greet.trigger({'name': 'Eve'}).wait(60))\n")
    commands = 'set -a; . .ava/environment; set +a; exec "$0" call.py'
    argv = ["sh", "-c", commands, sys.executable]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert (done.stdout, done.stderr) == ("Hello\n", "")


def _assert_that_a_node_which_joins_has_its_handlers(folder: Path) -> None:
    log = folder / "node.log"
    with log.open("wb") as output:
        node = subprocess.Popen(
            ava_argv("worker", "-c", "1"), cwd=folder, env=environment(), stdout=output, stderr=output
        )
    try:
        wait_until(lambda: "my_handlers declares wkr_greet" in log.read_text(), seconds=30, what=log.read_text)
    finally:
        node.terminate()
        node.wait(60)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere.py", "There is no file nowhere.py"),
        ("my-handlers.py", "cannot be imported as a module"),
        ("broken.py", "broken.py, line 1: ZeroDivisionError: division by zero"),
        ("empty", "declares no worker"),
    ],
)
def test_a_target_without_handlers_is_refused_in_one_line(target: str, reason: str, tmp_path: Path) -> None:
    for name, source in (("my-handlers.py", ""), ("broken.py", "1 / 0"), ("empty.py", "")):
        (tmp_path / name).write_text(source)
    command = [sys.executable, "-m", "ava.cli.main", "dev", target]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr


def _output(dev: Up, job_id: str) -> object:
    response = requests.get(f"{dev.url}/v1/ava/jobs/{job_id}", headers=dev.headers, timeout=10)
    return response.json()["data"]["output"]
