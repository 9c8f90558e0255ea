"""`python -m tests.acceptance.celery_suite [PYTEST OPTIONS]`: run Celery's tests of tasks and canvases on AVA Jobs.

Prints the number of tests that pass, and a reason for each that does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import redis

from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.celery_suite import sources

_FILES = ("t/integration/test_tasks.py", "t/integration/test_canvas.py")
#: Seconds of one test.
_TIMEOUT = 30
#: Why tests whose name has this part do not apply here.
_REASONS = {
    "revoke_by_stamped_headers": "stamped headers select no jobs to revoke",
    "revoked_by_headers": "stamped headers select no jobs to revoke",
    "task_sent_event": "no event is published to Celery's broker",
    "trace_log": "the log lines of Celery's worker are those of the job",
    "signal_bound_method": "before_task_publish is not sent",
    "retry_switches_from": "a job keeps its input, so a retry has no other arguments",
    "time_limits": "a worker, not a call, has time limits",
    "cancels_subscription": "the test reads keys of Celery's Redis backend",
    "send_task_without_ignore_result": "the test reads the state of Celery's worker in its process",
    "retry_preserves_ignore_result": "the test reads the state of Celery's worker in its process",
    "revoke_keeps_state": "the test starts workers of Celery",
    "unpickleable": "an exception is rebuilt from its line of text",
    "retried_priority": "the test reads the priority of Celery's message",
    "test_properties": "the test reads the properties of Celery's message",
    "add_to_all": "self.add_to_chord is skipped (`ava celery check`)",
    "add_chord_to_chord": "self.add_to_chord is skipped (`ava celery check`)",
}


def main(options: Sequence[str]) -> int:
    """Run the tests. Returns 1 if one fails without a known reason."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_postgres() as postgres,
        running_redis() as broker,
        running_redis() as own,
    ):
        folder = Path(name)
        tests = folder / "tests"
        shutil.copytree(sources.unpack(folder) / "t", tests / "t")
        system = System(folder, database_url=postgres.url, broker_url=fresh_redis_url(broker))
        environ = _environ(system, tests, _without_password(own.url))
        system.run("db", "upgrade")
        system.start(workers=0, environ=environ)
        try:
            # A node's processes do not see the internal secret, and tasks call others.
            key = system.post("/v1/ava/keys", json={"name": "suite", "role": "tenant-system-admin"}).json()["data"]
            environ["AVA_API_KEY"] = key["token"]
            system.start_nodes(concurrency=4, environ=environ)
            report = folder / "report.xml"
            _run(tests, report, environ, options)
            return _print(list(_outcomes(report)))
        finally:
            system.stop()


def _environ(system: System, tests: Path, redis_url: str) -> dict[str, str]:
    return {
        "AVA_CELERY_APPS": "tests.acceptance.celery_suite.application:app",
        "AVA_HANDLERS": "workers",
        "AVA_URL": system.url,
        "AVA_INTERNAL_SECRET": SECRET,
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_USER_ID": HEADERS["x-user-id"],
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(tests))),
        "REDIS_PORT": str(urlsplit(redis_url).port),
        "TEST_BROKER": redis_url,
        "TEST_BACKEND": redis_url,
    }


def _without_password(url: str) -> str:
    """Remove the password of a Redis, because the tests know only its port. Returns the URL."""
    with redis.Redis.from_url(url) as connection:
        connection.config_set("requirepass", "")
    return f"redis://127.0.0.1:{urlsplit(url).port}"


def _run(tests: Path, report: Path, environ: dict[str, str], options: Sequence[str]) -> None:
    plugins = ("-p", "celery.contrib.pytest", "-p", "tests.acceptance.celery_suite.plugin")
    left_out = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    settings = ("-c", os.devnull, "--rootdir", ".", "-o", "python_classes=test_*", "-W", "ignore")
    command = (sys.executable, "-m", "pytest", "-q", *plugins, *left_out, *settings, f"--junitxml={report}")
    subprocess.run(
        (*command, "--timeout", str(_TIMEOUT), *_FILES, *options), cwd=tests, env=os.environ | environ, check=False
    )


def _outcomes(report: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each test, its outcome, and the first line about it."""
    for case in ElementTree.parse(report).iter("testcase"):
        found = next(iter(case), None)
        outcome = "passed" if found is None or found.tag not in ("failure", "error", "skipped") else found.tag
        message = "" if found is None else (found.get("message") or "").partition("\n")[0]
        yield f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}", outcome, message


def _print(found: Sequence[tuple[str, str, str]]) -> int:
    unknown = 0
    for name, outcome, message in found:
        if outcome in ("failure", "error"):
            reason = next((reason for part, reason in _REASONS.items() if part in name), None)
            unknown += reason is None
            print(f"{name}: {reason or f'UNEXPLAINED: {message[:120]}'}")  # noqa: T201 - the output of the command
    print(", ".join(f"{count} {outcome}" for outcome, count in Counter(each[1] for each in found).most_common()))  # noqa: T201
    return int(unknown > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
