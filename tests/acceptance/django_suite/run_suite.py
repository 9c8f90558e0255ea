"""Runs Django's own tests of tasks with our backend in place of Django's two, and prints the outcome as JSON.

The tests are those of Django's source distribution, unchanged. Its backends are found by their paths, so ours are put
there before a test is imported: one whose tasks wait, as those of `DummyBackend` do, and one whose tasks are finished
once `enqueue` returns, as those of `ImmediateBackend` are.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import unittest

import django

django.setup()

import requests  # noqa: E402
from ava_django.backend import AvaBackend  # noqa: E402
from ava_django.discovery import tasks_by_worker  # noqa: E402
from django.tasks.backends import dummy, immediate  # noqa: E402
from django.tasks.base import TaskResultStatus  # noqa: E402
from django.tasks.signals import task_finished, task_started  # noqa: E402
from django.test.runner import DiscoverRunner  # noqa: E402

_SECONDS = 60
_OPERATOR = {
    "x-internal-secret": os.environ["AVA_INTERNAL_SECRET"],
    "x-tenant-id": os.environ["AVA_TENANT_ID"],
    "x-user-id": os.environ["AVA_USER_ID"],
    "x-platform-role": "platform-admin",
}


def _set_queue(act):
    url = f"{os.environ['AVA_URL']}/v1/ava/queues/default/{act}"
    requests.post(url, headers=_OPERATOR, timeout=30).raise_for_status()


class WaitingBackend(AvaBackend):
    """Stands for `DummyBackend`: the queue is paused, and it keeps what it has enqueued."""

    def __init__(self, alias, params):
        super().__init__(alias, params)
        self.results = []

    def enqueue(self, task, args, kwargs):
        """Enqueue a task, and keep its result."""
        result = super().enqueue(task, args, kwargs)
        self.results.append(result)
        return result

    def clear(self):
        """Forget what was enqueued."""
        self.results.clear()


class FinishedBackend(AvaBackend):
    """Stands for `ImmediateBackend`: a node runs the task while `enqueue` waits."""

    def enqueue(self, task, args, kwargs):
        """Enqueue a task. Returns its result once it is finished."""
        _set_queue("resume")
        try:
            result = super().enqueue(task, args, kwargs)
            until = time.monotonic() + _SECONDS
            while not result.is_finished:
                assert time.monotonic() < until, result
                time.sleep(0.05)
                result.refresh()
            self._log(result)
            return result
        finally:
            _set_queue("pause")

    def _log(self, result):
        """Send the signals of a task, which the node has sent in its process, so that Django logs them here too."""
        started = dataclasses.replace(result, status=TaskResultStatus.RUNNING)
        task_started.send(type(self), task_result=started)
        try:
            raise RuntimeError(*[error.traceback for error in result.errors])
        except RuntimeError:
            # Django logs the exception that is being handled.
            task_finished.send(type(self), task_result=result)


dummy.DummyBackend = WaitingBackend
immediate.ImmediateBackend = FinishedBackend

from tasks import test_custom_backend, test_dummy_backend, test_immediate_backend, test_tasks  # noqa: E402

#: The tests that fail by intent. One that passes fails the run.
_EXPECTED = json.loads(os.environ["EXPECTED_FAILURES"])


def _cases():
    for module in (test_custom_backend, test_dummy_backend, test_immediate_backend, test_tasks):
        yield from _flat(unittest.defaultTestLoader.loadTestsFromModule(module))


def _flat(suite):
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from _flat(each)
        else:
            yield each


def _name(case):
    return f"{type(case).__name__}.{case._testMethodName}"


class _Runner(DiscoverRunner):
    def build_suite(self, *_arguments, **_rest):
        cases = list(_cases())
        for case in cases:
            # On the case, because Django wraps the methods of async tests.
            case.__unittest_expecting_failure__ = _name(case) in _EXPECTED
        return unittest.TestSuite(cases)

    def suite_result(self, suite, result, **_):
        found = {
            "run": result.testsRun,
            "failed": [[_name(case), traceback] for case, traceback in (*result.failures, *result.errors)],
            "expected": [[_name(case), traceback] for case, traceback in result.expectedFailures],
            "unexpected": [_name(case) for case in result.unexpectedSuccesses],
            "skipped": [[_name(case), why] for case, why in result.skipped],
        }
        sys.stdout.write(f"{json.dumps(found)}\n")
        return len(found["failed"]) + len(found["unexpected"])


tasks_by_worker()
_set_queue("pause")
sys.exit(bool(_Runner(verbosity=0, interactive=False).run_tests([])))
