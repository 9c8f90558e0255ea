"""Celery's own integration tests of tasks and canvases, with AVA Jobs in place of Celery's worker and result backend.

A selection runs by default; `CELERY_SUITE=all` runs all of them, in about half an hour.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url, running_redis
from harness.servers.server import Server
from harness.system import HEADERS, ROOT, SECRET, System
from tests.acceptance.celery_suite import sources
from tests.acceptance.conftest import assert_failed_by_intent, running_system

_IS_WHOLE = os.environ.get("CELERY_SUITE") == "all"
pytestmark = [
    pytest.mark.redis,
    pytest.mark.timeout(3600 if _IS_WHOLE else 900),
    pytest.mark.long(kept_by="tests/acceptance/test_celery_calls.py::test_a_caller_sees_on_ava_what_it_sees_on_celery"),
]

_FILES = ("t/integration/test_tasks.py", "t/integration/test_canvas.py")
_PAGE = ROOT / "clients/celery/README.md"
#: The tests that fail by intent, by their reason. A name without parameters means all of them.
_FAIL = {
    "stamps do not select jobs to revoke": """
        test_tasks.test_revoked_by_headers_simple_canvas test_tasks.test_revoked_by_headers_complex_canvas
        test_tasks.test_revoke_by_stamped_headers_no_match
    """,
    "they read signals, states or log lines of Celery's worker in their own process": """
        test_tasks.test_send_task_without_ignore_result_uses_task_ignore_result
        test_tasks.test_send_task_without_ignore_result_stores_result
        test_tasks.test_revoke_keeps_state_of_task_started_elsewhere
        test_trace_log_arguments.test_task_success test_trace_log_arguments.test_task_failed
        test_task_redis_result_backend.test_retry_preserves_ignore_result_false
        test_task_redis_result_backend.test_retry_preserves_ignore_result_true
        test_task_replacement.test_replaced_task_nesting_level_0
        test_task_replacement.test_replaced_task_nesting_level_1
        test_task_replacement.test_replaced_task_nesting_chain
        test_stamping_mechanism.test_stamping_workflow
        test_stamping_mechanism.test_stamp_value_type_defined_by_visitor
        test_stamping_mechanism.test_properties_not_affected_from_stamping
        test_stamping_mechanism.test_task_received_has_access_to_stamps
        test_stamping_mechanism.test_all_tasks_of_canvas_are_stamped
        test_stamping_mechanism.test_replace_merge_stamps
        test_stamping_mechanism.test_linking_stamped_sig test_stamping_mechanism.test_err_linking_stamped_sig
        test_stamping_mechanism.test_stamps_remain_on_task_retry
    """,
    "they read messages, events or keys on Celery's Redis, or `before_task_publish`": """
        test_tasks.test_task_sent_event_respects_publish_retry_limit test_tasks.test_properties
        test_signal_bound_method_receivers.test_each_instance_receives
        test_signal_bound_method_receivers.test_disconnect_leaves_other_instance_connected
        test_signal_bound_method_receivers.test_other_instance_receives_after_garbage_collection
        test_task_redis_result_backend.test_asyncresult_forget_cancels_subscription
        test_task_redis_result_backend.test_asyncresult_get_cancels_subscription
        test_chain.test_chord_header_id_duplicated_on_rabbitmq_msg_duplication
        test_chord.test_redis_subscribed_channels_leak test_chord.test_chord_on_error
    """,
    "a job keeps its input, so a retry has no other arguments": """
        test_tasks.test_retry_switches_from_kwargs_to_args test_tasks.test_retry_switches_from_args_to_kwargs
    """,
    "an exception is rebuilt from its line of text": """
        test_tasks.test_retry_with_unpickleable_exception test_tasks.test_fail_with_unpickleable_exception
    """,
    "a worker, not a call, has time limits": """
        test_tasks.test_request_time_limits_set_via_apply_async
        test_tasks.test_apply_async_time_limits_override_task_declaration
        test_chain.test_chord_soft_timeout_recuperation
    """,
    "`request.parent_id` is the job that made the call, not the task before it in a canvas": """
        test_chain.test_parent_ids test_group.test_parent_ids test_chord.test_parent_ids
        test_chord.test_parent_ids__plain_task_body test_chord.test_parent_ids__OR
    """,
    "`self.add_to_chord` is skipped by `ava celery check`": """
        test_chord.test_add_to_chord test_chord.test_add_chord_to_chord
    """,
    "a canvas is one request: it consumes a generator first, and has at most 1,000 tasks": """
        test_chord.test_generator test_chord.test_large_header test_chord.test_chain_to_a_chord_with_large_header
    """,
    "a `task_id` is an idempotency key, so a frozen canvas runs once": """
        test_chord.test_reapplying_frozen_chord_dispatches_body_again
    """,
    "a failed header calls only immutable error callbacks of a body of one task, in a chord that begins a canvas": """
        test_chord.test_chain_of_implicit_chords_body_failure[header]
        test_chord.test_link_error_option_runs_on_header_failure[group]
        test_chord.test_errbacks_of_group_body_tasks_run_on_header_failure
        test_chord.test_errbacks_of_chord_in_group_body_run_on_header_failure
        test_chord.test_errback_set_as_one_signature_runs_on_header_failure
        test_chord.test_mutable_errback_called_by_chord_from_simple
        test_chord.test_link_error_option_runs_on_header_failure[chord]
        test_chord.test_mutable_errback_called_by_chord_from_chain
        test_chord.test_mutable_errback_called_by_chord_from_chain_tail
        test_chord.test_mutable_errback_called_by_chord_from_group
        test_chord.test_mutable_errback_called_by_chord_from_group_fail_multiple_on_header_failure
    """,
    "a group's own option `link_error` is ignored": """
        test_chord.test_link_error_option_with_link_error_of_group_body
        test_chord.test_link_error_option_runs_once_for_chord_in_group_body_with_link_error
    """,
    "an error callback of a chord is also called for a failed chord in its header": """
        test_chord.test_nested_chord_header_link_error
    """,
    "a task after a failed one ends slightly later, and the test reads its state immediately": """
        test_chain.test_header_failure_fails_the_chords_after_it
        test_chain.test_header_failure_fails_the_chords_after_a_group_body
    """,
    "1,000 results are as many requests, which takes longer than the test waits on a busy machine": """
        test_group.test_large_group
    """,
    "Celery skips them": """
        test_tasks.test_multiprocess_producer test_tasks.test_multithread_producer test_tasks.test_task_accepted
        test_chord.test_simple_chord_with_a_delay_in_group_save
        test_result_set.test_join_native_timeout_zero_gives_up_on_pending_results
        test_result_set.test_join_native_timeout_zero_returns_results_that_are_ready
    """,
}
_EXPECTED = {name: reason for reason, names in _FAIL.items() for name in names.split()}
#: Of these, the tests that pass at times; two assert only in a receiver of a worker's signal, which nothing calls.
_PASS_AT_TIMES = (
    r"test_header_failure_fails_the_chords_after|large_group|replace_merge_stamps|stamps_remain_on_task_retry"
)
_MAY_PASS = [name for name in _EXPECTED if re.search(_PASS_AT_TIMES, name)]
#: The tests of a short run.
_SELECTED = """
    test_tasks.test_basic_task test_tasks.test_reject_with_requeue_redelivers_and_succeeds test_tasks.test_expired
    test_tasks.test_fail test_tasks.test_revoked test_tasks.test_retry test_tasks.test_task_retried_priority
    test_tasks.test_revoke_by_stamped_headers_no_match test_link_error.test_link_error_callback_retries
    test_link_error.test_link_error_using_signature test_chain.test_complex_chain
    test_chain.test_chain_inside_group_receives_arguments test_chain.test_second_order_replace
    test_chain.test_groupresult_serialization test_chain.test_chain_with_eb_replaced_with_chain_with_eb
    test_chain.test_chain_child_with_errback_replaced test_group.test_nested_group
    test_group.test_errback_called_by_group_fail_first test_chord.test_group_chain test_chord.test_nested_chord
    test_chord.test_error_propagates_to_chord_from_chain test_chord.test_chord_in_chords_with_chains
"""


@pytest.fixture
def celerys_redis() -> Iterator[str]:
    """The Redis of Celery's tests, which know only its port."""
    with running_redis() as server, redis.Redis.from_url(server.url) as connection:
        connection.config_set("requirepass", "")
        yield f"redis://127.0.0.1:{urlsplit(server.url).port}"


@pytest.fixture
def environ(tmp_path: Path, celerys_redis: str) -> dict[str, str]:
    tests = tmp_path / "tests"
    shutil.copytree(sources.unpacked() / "t", tests / "t")
    return {
        "AVA_CELERY_APPS": "tests.acceptance.celery_suite.application:app",
        "AVA_HANDLERS": "workers",
        "AVA_TENANT_ID": HEADERS["x-tenant-id"],
        "AVA_USER_ID": HEADERS["x-user-id"],
        "AVA_INTERNAL_SECRET": SECRET,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(tests))),
        "REDIS_PORT": str(urlsplit(celerys_redis).port),
        "TEST_BROKER": celerys_redis,
        "TEST_BACKEND": celerys_redis,
    }


@pytest.fixture
def system(_databases: Databases, redis_server: Server, tmp_path: Path, environ: dict[str, str]) -> Iterator[System]:
    with (
        _databases.fresh(is_pooled=False) as url,
        running_system(tmp_path, url, fresh_redis_url(redis_server), workers=0, environ=environ) as system,
    ):
        environ["AVA_URL"] = system.url
        key = system.post("/v1/ava/keys", json={"name": "suite", "role": "tenant-system-admin"}).json()["data"]
        environ["SUITE_KEY"] = key["token"]
        system.start_nodes(concurrency=4, environ=environ)
        yield system


@pytest.mark.usefixtures("system")
def test_celerys_own_tests_pass_but_for_those_with_a_reason(environ: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    only = None if _IS_WHOLE else _SELECTED.split()
    suite = {"expected": _EXPECTED, "may_pass": _MAY_PASS, "only": only, "report": str(report)}
    plugins = ("celery.contrib.pytest", "tests.acceptance.celery_suite.plugin")
    others = ("no:cacheprovider", "no:randomly", "no:xdist")
    options = [part for name in (*plugins, *others) for part in ("-p", name)]
    settings = ("-c", os.devnull, "--rootdir", ".", "-o", "python_classes=test_*", "-W", "ignore")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", *options, *settings, *_FILES),
        cwd=tmp_path / "tests",
        env=os.environ | environ | {"CELERY_SUITE": json.dumps(suite)},
        capture_output=not _IS_WHOLE,
        text=True,
        check=False,
    )
    found = json.loads(report.read_text()) if report.exists() else {"selected": []}
    expected = [name for name in found["selected"] if found["collected"][name]]
    assert_failed_by_intent(found, expected, str(done.stdout)[-5000:])
    reasons = found["collected"]
    # The names without parameters, too.
    assert _EXPECTED.keys() <= reasons.keys() | {name.partition("[")[0] for name in reasons}
    counts = Counter(reasons.values())
    passed = f"{counts[None]} of {len(reasons)}"
    rows = [f"| {passed} | they pass |", *(f"| {counts[reason]} | {reason} |" for reason in _FAIL)]
    assert [row for row in rows if row not in _PAGE.read_text()] == []
