"""`python -m tests.acceptance.celery_suite [PYTEST OPTIONS]`: run Celery's tests of tasks and canvases on AVA Jobs.

Writes RESULTS.md beside this file: the number of tests that pass, and a reason for each that does not apply. A test
that does not apply is not run, because most of these wait until their timeout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import redis

from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.celery_suite import sources

_FILES = ("t/integration/test_tasks.py", "t/integration/test_canvas.py")
_RESULTS = Path(__file__).with_name("RESULTS.md")
_FAILED = ("failure", "error")
#: Seconds of one test.
_TIMEOUT = 120
_SIGNALS = "the test receives the signals of Celery's worker in its process"
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
    "replaced_task_nesting_level": _SIGNALS,
    "replaced_task_nesting_chain": _SIGNALS,
    "stamping_workflow": _SIGNALS,
    "stamp_value_type": _SIGNALS,
    "properties_not_affected": _SIGNALS,
    "task_received_has": _SIGNALS,
    "all_tasks_of_canvas": _SIGNALS,
    "replace_merge_stamps": _SIGNALS,
    "linking_stamped_sig": _SIGNALS,
    "stamps_remain_on_task_retry": _SIGNALS,
    "header_id_duplicated_on_rabbitmq": "before_task_publish is not sent",
    "subscribed_channels_leak": "the test reads keys of Celery's Redis backend",
    "test_chord::test_chord_on_error": "the test reads keys of Celery's Redis backend",
    "test_add_to_chord": "self.add_to_chord is skipped (`ava celery check`)",
    "retried_priority": "the test reads the priority of Celery's message",
    "test_tasks::test_properties": "the test reads the properties of Celery's message",
    "add_to_all": "self.add_to_chord is skipped (`ava celery check`)",
    "test_generator[": "a canvas is one request, so the generator of its header is consumed first",
    "large_header": "a graph has at most 1,000 tasks, and the header alone has as many",
    "test_parent_ids": "self.request.parent_id is the job that made the call, not the task before it in a canvas",
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
            return _report([*_outcomes(report), *_left_out(report.with_name("left_out"))])
        finally:
            system.stop()


def _environ(system: System, tests: Path, redis_url: str) -> dict[str, str]:
    return {
        "CELERY_SUITE_LEFT_OUT": "\n".join(_REASONS),
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
    environ = environ | {"CELERY_SUITE_NOT_RUN": str(report.with_name("left_out"))}
    plugins = ("-p", "celery.contrib.pytest", "-p", "tests.acceptance.celery_suite.plugin")
    left_out = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    settings = ("-c", os.devnull, "--rootdir", ".", "-o", "python_classes=test_*", "-W", "ignore")
    command = (sys.executable, "-m", "pytest", "-q", *plugins, *left_out, *settings, f"--junitxml={report}")
    subprocess.run(
        (*command, "--timeout", str(_TIMEOUT), *_FILES, *options), cwd=tests, env=os.environ | environ, check=False
    )


def _left_out(path: Path) -> Iterator[tuple[str, str, str]]:
    for name in path.read_text().splitlines():
        yield name, "left out", ""


def _outcomes(report: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each test, its outcome, and the first line about it."""
    for case in ElementTree.parse(report).iter("testcase"):
        found = next(iter(case), None)
        outcome = "passed" if found is None or found.tag not in ("failure", "error", "skipped") else found.tag
        message = "" if found is None else (found.get("message") or "").partition("\n")[0]
        yield f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}", outcome, message


def _report(found: Sequence[tuple[str, str, str]]) -> int:
    """Write the results. Returns 1 if a test that applies has failed."""
    counts = Counter(outcome for _, outcome, _ in found)
    parts = [part for name, _, _ in found for part in _REASONS if part in name]
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    lines = [
        f"# Celery {version('celery')}'s own tests on AVA Jobs",
        "",
        f"`python -m tests.acceptance.celery_suite`: {summary}. *left out* do not apply:",
        "",
        "| tests | number | why |",
        "|---|---:|---|",
        *(f"| `{part}` | {count} | {_REASONS[part]} |" for part, count in Counter(parts).items()),
        *(f"| `{name}` | 1 | {message[:150]} |" for name, outcome, message in found if outcome == "skipped"),
    ]
    failed = [
        f"| `{name}` | 1 | **fails**: {message[:150]} |" for name, outcome, message in found if outcome in _FAILED
    ]
    text = "\n".join([*lines, *failed]) + "\n"
    sys.stdout.write(text)
    _RESULTS.write_text(text)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
